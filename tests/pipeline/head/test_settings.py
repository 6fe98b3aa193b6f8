"""Settings of the head: what is impossible is refused, and what photos count follows from them."""

from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.head.dataset import Examples, in_memory
from pipeline.head.settings import NONE, Settings, Sgd, parse_class_weights


def uneven() -> Examples:
    labels = np.array(["a"] * 6 + ["b"] * 2, dtype=object)
    return Examples.read(in_memory(np.eye(8, dtype=np.float32), labels))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("l2", -1, "it must be 0, to choose it automatically, or a positive number"),
        ("l2", float("nan"), "it must be 0, to choose"),
        ("l2", float("inf"), "it must be 0, to choose"),
        ("label_smoothing", 1, "at least 0 and below 1"),
        ("label_smoothing", -0.1, "at least 0 and below 1"),
    ],
)
def test_an_impossible_setting_is_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UserError, match=f"{name} is .*{wanted}"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("how_many_training_steps", 0, "at least 1"),
        ("learning_rate", 0, "a positive number"),
        ("learning_rate", -0.1, "a positive number"),
        ("learning_rate", float("nan"), "a positive number"),
        ("train_batch_size", 0, "at least 1"),
        ("train_batch_size", -1, "at least 1"),
        ("eval_step_interval", 0, "at least 1"),
        ("validation_batch_size", 0, "at least 1, or -1 for all"),
        ("validation_batch_size", -2, "at least 1, or -1 for all"),
        ("random_seed", -1, "at least 0"),
    ],
)
def test_an_impossible_setting_of_sgd_is_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(UserError, match=f"^{name} is {value:g}; it must be {wanted}$"):
        Sgd(**{name: value})


def test_balanced_classes_count_the_same() -> None:
    assert np.allclose(Settings().photo_weights(uneven()), [1 / 12] * 6 + [1 / 4] * 2)


def test_without_weighting_photos_count_the_same() -> None:
    assert np.allclose(Settings(class_weighting=NONE).photo_weights(uneven()), 1 / 8)


def test_class_weights_say_how_many_times_as_much_a_class_counts() -> None:
    weights = Settings(class_weights=(("b", 3),)).photo_weights(uneven())
    assert weights[6:].sum() == pytest.approx(3 * weights[:6].sum())
    assert weights.sum() == pytest.approx(1)


def test_a_weight_of_no_class_is_refused() -> None:
    with pytest.raises(UserError, match="class_weights names 'B', which is not a class"):
        Settings(class_weights=(("B", 3),)).photo_weights(uneven())


def test_class_weights_are_read_in_any_order() -> None:
    assert parse_class_weights('{"b": 3, "a 1": 0.5}') == (("a 1", 0.5), ("b", 3.0))
    assert parse_class_weights("") == ()


@pytest.mark.parametrize(
    "text", ['{"a": 0}', '{"a": -1}', '{"a": "x"}', "[1]", "a=1", '{"a": null}']
)
def test_class_weights_that_are_no_table_of_positive_numbers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="it must map labels to positive numbers"):
        parse_class_weights(text)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"a": [1]}', '{"a": NaN}', "{'a': 1}"])
def test_class_weights_that_are_no_table_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="it must map labels to positive numbers"):
        parse_class_weights(text)


def test_labels_with_weights_may_have_decomposed_accents() -> None:
    assert parse_class_weights('{"cafe\u0301": 2}') == (("caf\u00e9", 2.0),)
