"""SearchHead: ranks heads, and reuses existing ones."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import UserError
from tasks import SearchHead, TrainHead
from tasks.step import fetch
from tests.support.commands import run
from tests.support.saved_modules import tf1_module


def test_a_search_ranks_every_combination(options: dict[str, Any], tmp_path: Path) -> None:
    task = SearchHead(**options, try_l2="0.1, 0.01", try_label_smoothing="0,0.2")
    run(task)
    table = pd.read_csv(fetch(task.output()))
    assert len(table) == 2 * 2 * 2
    assert len(list((tmp_path / "out/heads").iterdir())) == 8
    assert not table.duplicated(["class_weighting", "label_smoothing", "l2"]).any()
    best = json.loads((Path(table["head"][0]) / "training.json").read_text())
    assert table["validation_accuracy"][0] == best["path"][0]["validation_accuracy"]
    assert table["validation_accuracy"].is_monotonic_decreasing
    assert SearchHead(**options, try_l2="0.1, 0.01", try_label_smoothing="0,0.2").complete()


def test_a_search_uses_heads_that_are_there(options: dict[str, Any]) -> None:
    trained = TrainHead(**options, l2=0.1)
    run(trained)
    task = SearchHead(**options, try_l2="0.1", try_class_weighting="balanced")
    assert trained in task.requires()


def test_an_impossible_value_of_a_search_is_heard_before_any_work() -> None:
    with pytest.raises(UserError, match="l2 is -1"):
        SearchHead(try_l2="0, -1")
    with pytest.raises(UserError, match="'balanced, heavy'; it must list values of class_weigh"):
        SearchHead(try_class_weighting="balanced, heavy")
    with pytest.raises(UserError, match="try_l2 is 'much'; it must list values of l2"):
        SearchHead(try_l2="much")


def test_an_empty_list_stands_for_the_value_of_the_option() -> None:
    task = SearchHead(try_class_weighting="", class_weighting="none", try_label_smoothing="0")
    assert [head.class_weighting for head in task.heads] == ["none"]


def test_numbers_of_copies_are_compared_and_none_means_no_distortion(
    options: dict[str, Any],
) -> None:
    task = SearchHead(**options, augmentations=1, random_crop=10, try_augmentations="0, 2")
    copies = {(head.augmentations, head.random_crop) for head in task.requires()}
    assert copies == {(0, 0), (2, 10)}


def test_modules_are_compared_with_the_time_that_they_take(
    options: dict[str, Any], tmp_path: Path
) -> None:
    modules = f"{options['tfhub_module']}, {tf1_module(tmp_path / 'other')}"
    task = SearchHead(**options, try_tfhub_module=modules, try_label_smoothing="0")
    run(task)
    table = pd.read_csv(fetch(task.output()))
    assert set(table["tfhub_module"]) == set(modules.split(", "))
    assert (table["seconds_per_photo"] > 0).all()
    assert table.groupby("tfhub_module")["seconds_per_photo"].nunique().tolist() == [1, 1]


def test_input_sizes_are_compared() -> None:
    task = SearchHead(try_image_size="192, 224")
    assert {head.image_size for head in task.requires()} == {192, 224}
