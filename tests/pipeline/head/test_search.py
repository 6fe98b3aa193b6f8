"""The ranking of heads: the best one on validation comes first."""

import shlex
from pathlib import Path

import pandas as pd
import pytest

from pipeline.head import search, softmax_head, training
from pipeline.head.dataset import in_memory
from pipeline.head.search import Candidate
from pipeline.head.settings import Settings
from tests.support.store import points


@pytest.fixture
def candidates(tmp_path: Path) -> list[Candidate]:
    """Heads of three strengths, the worst one first."""
    passes = in_memory(*points(80, 10, 7)), in_memory(*points(300, 10, 8))
    seen = []
    for number, l2 in enumerate((100.0, 1e-4, 0.0)):
        directory = tmp_path / str(number)
        softmax_head.write(*training.train(*passes, Settings(l2=l2)), directory)
        seen.append(Candidate({"l2": l2, "class_weighting": "balanced"}, directory))
    return seen


def test_the_best_on_validation_comes_first(candidates: list[Candidate], tmp_path: Path) -> None:
    table = search.rank(candidates)
    assert table["head"][0] == str(tmp_path / "2")
    assert len(table) == 3
    assert table["validation_accuracy"].is_monotonic_decreasing
    assert table["validation_accuracy"].is_unique


def test_the_strength_that_was_chosen_stands_in_the_table(candidates: list[Candidate]) -> None:
    table = search.rank(candidates)
    assert table["l2"][0] not in (0, 100, 1e-4)
    assert table["class_weighting"].tolist() == ["balanced"] * 3


def test_the_table_is_written_and_told(candidates: list[Candidate], tmp_path: Path) -> None:
    table = search.rank(candidates)
    search.write(table, tmp_path / "search.csv")
    assert pd.read_csv(tmp_path / "search.csv")["head"].tolist() == table["head"].tolist()
    heading, best, *_, last = search.summary_lines(table)
    assert heading.split()[0] == "validation_accuracy"
    assert float(best.split()[0]) == pytest.approx(table["validation_accuracy"][0], abs=1e-3)
    assert last == f"The best head is in {tmp_path / '2'}"


def test_the_command_for_a_head_keeps_its_options_apart() -> None:
    command = search.command("my photos", "out", {"tfhub_module": "my module", "l2": 0.0})
    assert shlex.split(command) == [
        *("make", "train", "IMAGE_DIR=my photos", "OUTPUT_DIR=out"),
        "OPTIONS=--tfhub-module 'my module' --l2 0.0",
    ]


def test_without_validation_photos_heads_are_listed_all_the_same(tmp_path: Path) -> None:
    trained = training.train(in_memory(*points(80, 3, 7)), lambda: iter([]))
    softmax_head.write(*trained, tmp_path / "head")
    table = search.rank([Candidate({"l2": 0}, tmp_path / "head")] * 2)
    assert len(table) == 2
    assert table["validation_accuracy"].isna().all()
