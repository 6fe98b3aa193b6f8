"""Unused options: each is named, with what would make it count."""

import datetime

import luigi
import pytest

from tasks import ExportModel, NightlyRetrain, PruneRuns, SearchHead, unused_options


@pytest.mark.parametrize(
    ("task", "line"),
    [
        (
            ExportModel(how_many_training_steps=500, train_batch_size=10),
            "how_many_training_steps, train_batch_size have no effect without --optimizer sgd",
        ),
        (
            NightlyRetrain(fine_tune_minutes=5.0, fine_tune_every=3),
            "fine_tune_minutes, fine_tune_every have no effect without --fine-tune-epochs",
        ),
        (ExportModel(ray_actors=2), "ray_actors has no effect without --engine ray"),
        (
            ExportModel(testing_percentage=20.0, split_folders=True),
            "testing_percentage has no effect with a predefined split",
        ),
        (
            SearchHead(l2=0.1, image_size=192, try_image_size="128, 160"),
            "image_size, l2 have no effect in a search, which tries the values of try_... instead",
        ),
    ],
)
def test_an_option_without_effect_is_named(task: luigi.Task, line: str) -> None:
    assert list(unused_options.lines(task)) == [line]


@pytest.mark.parametrize(
    "task",
    [
        ExportModel(),
        ExportModel(optimizer="sgd", learning_rate=0.5),
        ExportModel(l2=0.1, engine="ray", ray_actors=2, testing_percentage=20.0),
        NightlyRetrain(date=datetime.date(2026, 11, 1), fine_tune_epochs=2, fine_tune_minutes=5.0),
        SearchHead(image_size=192),
        PruneRuns(keep=3),
    ],
)
def test_an_option_that_counts_is_not(task: luigi.Task) -> None:
    assert list(unused_options.lines(task)) == []
