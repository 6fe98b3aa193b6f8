"""Sizes of classes."""

import numpy as np

from pipeline.evaluation.data_checks import class_sizes
from tests.support.checks import Maker


def test_small_classes_and_those_far_smaller_than_the_largest_are_named(
    make_subject: Maker,
) -> None:
    labels = ["large"] * 300 + ["enough"] * 30 + ["few"] * 19
    found = list(class_sizes.find(make_subject(np.zeros((len(labels), 2)), labels)))
    assert [(f.kind, f.label) for f in found] == [("small_class", "few"), ("imbalance", "few")]
    assert found[1].detail == "19 photos; large has 300"
