"""SearchHead: ranks heads, and reuses existing ones."""

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import UserError
from tasks import SearchHead, TrainHead
from tasks.step import fetch
from tests.support.commands import run
from tests.support.saved_modules import packed, tf1_module
from tests.support.steps import Pipeline
from tests.support.web import Web

FEW = {"try_class_weighting": "none", "try_label_smoothing": "0"}


class Search(Pipeline):
    task_class = SearchHead

    def table(self) -> pd.DataFrame:
        return pd.read_csv(fetch(self.task.output()))

    def left_out(self) -> list[str]:
        return [line for line in self.lines if line.startswith("Left out")]


def test_a_search_ranks_every_combination(options: dict[str, Any], tmp_path: Path) -> None:
    options["testing_percentage"] = 20
    search = Search(**options, try_l2="0.1, 0.01", try_label_smoothing="0,0.2")
    search.run()
    table = search.table()
    assert len(table) == 2 * 2 * 2
    assert len(list((tmp_path / "out/heads").iterdir())) == 8
    assert not table.duplicated(["class_weighting", "label_smoothing", "l2"]).any()
    best = json.loads((Path(table["head"][0]) / "training.json").read_text())
    assert table["validation_accuracy"][0] == best["path"][0]["validation_accuracy"]
    assert table["validation_accuracy"].is_monotonic_decreasing
    (line,) = (line for line in search.lines if line.startswith("Export the best head with"))
    words = list(pairwise(shlex.split(shlex.split(line)[-1].removeprefix("OPTIONS="))))
    assert ("--tfhub-module", options["tfhub_module"]) in words
    assert ("--testing-percentage", "20") in words
    # Only the calibration of the best head is reported.
    assert len([line for line in search.lines if line.startswith("Calibration error")]) == 1
    assert search.run() == []


def test_a_search_uses_heads_that_are_there(options: dict[str, Any]) -> None:
    trained = TrainHead(**options, l2=0.1)
    run(trained)
    task = SearchHead(**options, try_l2="0.1", try_class_weighting="balanced")
    assert trained in task.heads


def test_an_impossible_value_of_a_search_is_heard_before_any_work() -> None:
    with pytest.raises(UserError, match="l2 is -1"):
        SearchHead(try_l2="0, -1")
    with pytest.raises(UserError, match="'balanced, heavy'; it must list values of class_weigh"):
        SearchHead(try_class_weighting="balanced, heavy")
    with pytest.raises(UserError, match="try_l2 is 'much'; it must list values of l2"):
        SearchHead(try_l2="much")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("efficientnet-lite7", "efficientnet-lite"),
        ("keras:EfficientNetV2b0", "keras:EfficientNetV2B0"),
        ("models/none", ""),
    ],
)
def test_mistyped_names_stop_a_search_before_any_vector(
    options: dict[str, Any], name: str, meant: str
) -> None:
    search = SearchHead(**options, try_tfhub_module=f"{options['tfhub_module']}, {name}")
    with pytest.raises(UserError, match=f"did you mean {meant}" if meant else "is neither a built"):
        next(search.run())


def test_an_empty_list_stands_for_the_value_of_the_option() -> None:
    task = SearchHead(try_class_weighting="", class_weighting="none", try_label_smoothing="0")
    assert [head.class_weighting for head in task.heads] == ["none"]


def test_numbers_of_copies_are_compared_and_none_means_no_distortion(
    options: dict[str, Any],
) -> None:
    task = SearchHead(**options, augmentations=1, random_crop=10, try_augmentations="0, 2")
    copies = {(head.augmentations, head.random_crop) for head in task.heads}
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
    assert {head.image_size for head in task.heads} == {192, 224}


def test_a_size_that_a_module_does_not_take_is_left_out(
    options: dict[str, Any], tmp_path: Path
) -> None:
    module = tf1_module(tmp_path / "other", (None, 16, 16, 3))
    options["tfhub_module"] = str(module)
    search = Search(**options, **FEW, try_image_size="0, 16, 300")
    assert "SearchHead" in search.run()
    assert search.table()["input"].tolist() == ["16 x 16"]  # the sizes 0 and 16 are the same
    (reason,) = search.left_out()
    assert "with image_size 300: image_size is 300, but" in reason
    assert "takes 16 x 16 pixels" in reason
    assert "SearchHead" in search.run()  # tries it again, and shows the ranking


def test_a_module_that_was_left_out_is_ranked_once_it_can_be_fetched(
    options: dict[str, Any], web: Web, tmp_path: Path
) -> None:
    module = packed(tf1_module(tmp_path / "other"), tmp_path / "other.tar.gz")
    address = f"{web.url}/other.tar.gz"
    search = Search(**options, **FEW, try_tfhub_module=f"{address},{options['tfhub_module']}")
    search.run()
    assert len(search.table()) == 1
    (reason,) = search.left_out()
    assert "the server answered 404" in reason
    web.put("/other.tar.gz", module.read_bytes())
    search.run()
    assert search.left_out() == []
    assert len(search.table()) == 2
    assert search.run() == []


def test_a_search_without_any_module_that_can_run_fails(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="image_size is 300, but"):
        next(SearchHead(**options, image_size=300).run())
