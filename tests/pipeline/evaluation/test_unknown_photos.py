"""What the evaluation says about unknown photos."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.bottlenecks.reader import Bottlenecks
from pipeline.evaluation import metrics, unknown_photos
from pipeline.head import training
from pipeline.head.dataset import in_memory
from pipeline.head.settings import Settings
from pipeline.head.softmax_head import Head
from tests.support.store import points


def trained(validation: int, other: str = "") -> tuple[Head, Bottlenecks]:
    vectors, labels = points(700, 3, 1, noise=0.3)
    parts = [slice(0, 300), slice(300, 300 + validation), slice(500, 700)]
    known, chosen, _ = (in_memory(vectors[part], labels[part]) for part in parts)
    head, _ = training.train(known, chosen, Settings(l2=0.01, other_class=other))
    names = [f"{number}.jpg" for number in range(200)]
    return head, Bottlenecks(vectors[500:], labels[500:], names, names)


def test_rates_are_measured_on_known_and_on_unknown_photos() -> None:
    head, test = trained(200)
    _, predictions = metrics.evaluate(head, test)
    strange = -test.vectors[:50]
    result = unknown_photos.measure(head, predictions, strange, 0.03)
    assert result
    assert [row.rate for row in result.rates] == [0.01, 0.02, 0.03, 0.05, 0.1, 0.2]
    at_rate = result.rates[2]
    assert at_rate.known == (predictions["known"] <= 0.03).mean()
    assert at_rate.unknown
    assert at_rate.unknown > 0.9
    assert result.passed == pytest.approx(1 - at_rate.unknown)
    assert (result.unknown_count, result.known_count) == (50, 200)
    assert sum(b.known for b in result.bins) == 200
    assert sum(b.unknown for b in result.bins) == 50
    lowest = predictions.sort_values("familiarity")["path"].head(unknown_photos.MAX_STRANGE)
    assert [photo["path"] for photo in result.strangest] == lowest.tolist()
    first, second = unknown_photos.summary_lines(result)
    assert (
        first == f"Unknown photos: {at_rate.known:.1%} of the known test photos would be rejected"
    )
    assert second == f"Unknown photos: {result.passed:.1%} of 50 unknown ones would pass"


def test_photos_of_the_other_class_are_unknown() -> None:
    head, test = trained(200, "class 2")
    _, predictions = metrics.evaluate(head, test)
    result = unknown_photos.measure(head, predictions, test.vectors[:0], 0.05)
    assert result
    assert result.other_class == "class 2"
    assert result.unknown_count == (test.labels == "class 2").sum()
    assert result.known_count == (test.labels != "class 2").sum()


@pytest.mark.parametrize(("validation", "rejects"), [(18, False), (19, True)])
def test_too_few_validation_photos_are_reported(validation: int, rejects: bool) -> None:
    head, test = trained(validation)
    _, predictions = metrics.evaluate(head, test)
    result = unknown_photos.measure(head, predictions, test.vectors[:, ::-1], 0.05)
    assert result
    assert result.passed is not None
    assert result.passed < 0.1 if rejects else result.passed == 1
    lines = list(unknown_photos.summary_lines(result))
    assert ("are too few for unknown_rate 0.05" in lines[0]) is not rejects
    nothing_wanted = unknown_photos.measure(head, predictions, test.vectors[:0], 0)
    assert nothing_wanted
    assert "too few" not in " ".join(unknown_photos.summary_lines(nothing_wanted))


def test_without_test_photos_there_are_no_shares() -> None:
    head, test = trained(20)
    _, predictions = metrics.evaluate(head, test.where(np.zeros(200, bool)))
    result = unknown_photos.measure(head, predictions, test.vectors[:0], 0.05)
    assert result
    assert (result.passed, result.bins, result.strangest) == (None, [], [])
    assert list(unknown_photos.summary_lines(result)) == []


def test_a_head_of_an_earlier_version_has_no_figures() -> None:
    head, test = trained(20)
    earlier = replace(head, familiarity=None)
    _, predictions = metrics.evaluate(earlier, test)
    assert predictions["known"].isna().all()
    assert unknown_photos.measure(earlier, predictions, test.vectors, 0.05) is None
