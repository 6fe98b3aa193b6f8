"""Outliers: what looks like nothing else."""

import numpy as np

from pipeline.evaluation.data_checks import outliers
from tests.support.checks import Maker


def test_the_photo_that_looks_like_no_other_is_named(make_subject: Maker) -> None:
    generator = np.random.default_rng(0)
    vectors = 1 + 0.1 * generator.normal(size=(60, 32))
    vectors[7] = generator.normal(size=32)
    (found,) = outliers.find(make_subject(vectors, ["a"] * 60))
    assert found.paths == ("a/7.png",)


def test_photos_that_are_all_alike_have_no_outlier(make_subject: Maker) -> None:
    assert not list(outliers.find(make_subject(np.ones((20, 4)), ["a"] * 20)))
