"""Settings of fine-tuning."""

import pytest

from pipeline.errors import UserError
from pipeline.fine_tuning import settings
from pipeline.fine_tuning.settings import DISTORTIONS, Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fine_tune_epochs", -1),
        ("fine_tune_learning_rate", 0.0),
        ("fine_tune_learning_rate", -0.001),
        ("fine_tune_learning_rate", 1000.0),
        ("fine_tune_learning_rate", float("nan")),
        ("fine_tune_batch_size", 0),
        ("fine_tune_percentage", 0.0),
        ("fine_tune_percentage", 101.0),
        ("fine_tune_label_smoothing", 1.0),
        ("fine_tune_minutes", -1.0),
        ("fine_tune_seed", -1),
    ],
)
def test_an_impossible_value_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name} is {value:g}; it must be "):
        Settings(**{"fine_tune_epochs": 1} | {name: value})


def test_a_batch_larger_than_the_data_set_is_reported() -> None:
    assert not list(settings.advice_lines(Settings(1, fine_tune_batch_size=20), 20, 80))
    (line,) = settings.advice_lines(Settings(1), 32, 79)
    assert line.startswith("there are only 79 validation photos, ")
    (line,) = settings.advice_lines(Settings(1, fine_tune_batch_size=21), 20, 80)
    assert line.startswith("fine_tune_batch_size is 21, and there are 20 training photos")
    assert line.endswith("set it to 5")


def test_distortions_are_the_options_or_the_default() -> None:
    none = {"augmentations": 4, "flip_left_right": False, "random_crop": 0}
    assert settings.distortions(none) == DISTORTIONS
    assert settings.distortions(none | {"random_crop": 30}).random_crop == 30
    assert not settings.distortions(none | {"random_crop": 30}).flip_left_right
