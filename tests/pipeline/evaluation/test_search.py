"""The ranking of heads: the best one on validation comes first."""

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.evaluation import search
from pipeline.evaluation.search import Candidate
from pipeline.evaluation.statistics import wilson_interval
from pipeline.head import softmax_head, training
from pipeline.head.dataset import in_memory
from pipeline.head.settings import Settings
from pipeline.head.softmax_head import TrainingRecord
from pipeline.head.trial import Trial
from tests.support.store import points

VALIDATION = 300  # photos


@pytest.fixture
def candidates(tmp_path: Path) -> list[Candidate]:
    """Heads of three strengths, the best one last; the first one's module is the fastest."""
    passes = in_memory(*points(80, 10, 7)), in_memory(*points(VALIDATION, 10, 8))
    seen = []
    for number, l2 in enumerate((100.0, 1e-4, 0.0)):
        directory = tmp_path / str(number)
        softmax_head.write(*training.train(*passes, Settings(l2=l2)), directory)
        options = {"tfhub_module": f"m{number}", "l2": l2, "class_weighting": "balanced"}
        seen.append(Candidate(options, directory, "8 x 8", "", 0.001 * (number + 1)))
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


def test_the_table_is_written(candidates: list[Candidate], tmp_path: Path) -> None:
    table = search.rank(candidates)
    search.write(table, tmp_path / "search.csv")
    assert pd.read_csv(tmp_path / "search.csv")["head"].tolist() == table["head"].tolist()


def test_the_accuracy_has_an_interval(candidates: list[Candidate]) -> None:
    table = search.rank(candidates)
    correct = round(table["validation_accuracy"][0] * VALIDATION)
    interval = wilson_interval(correct, VALIDATION)
    assert (table["accuracy_low"][0], table["accuracy_high"][0]) == interval
    assert table["validation_photos"].tolist() == [VALIDATION] * 3


def test_modules_are_told_before_all_heads(candidates: list[Candidate]) -> None:
    first = candidates[0]
    again = replace(first, options=first.options | {"class_weighting": "none"})
    lines = list(search.summary_lines(search.rank([*candidates, again])))
    middle = lines.index("Heads, ranked on 300 validation photos:")
    assert lines[0] == "Modules with their best heads, on 300 validation photos:"
    assert [line.split()[0] for line in lines[2:middle]] == ["m2", "m0", "m1"]
    assert [line.split()[-1] for line in lines[2:middle]] == ["3.0", "1.0", "2.0"]
    assert len(lines[middle + 2 : -1]) == 4
    assert "class_weighting" in lines[middle + 1]
    assert "input" not in lines[middle + 1]  # it is the same for all


def test_one_module_is_not_compared(candidates: list[Candidate]) -> None:
    heading, columns, best, *_, last = search.summary_lines(search.rank(candidates[2:]))
    assert heading == "Heads, ranked on 300 validation photos:"
    assert columns.split()[0] == "validation_accuracy"
    assert float(best.split()[0]) > 0
    assert last == f"The best head is in {candidates[2].directory}"


def measured(directory: Path, module: str, accuracy: float, seconds: float) -> Candidate:
    """A head with an accuracy on 100 validation photos, without its arrays."""
    trial = Trial(1.0, 10, 0.1, 1.0, 0.2, accuracy, 0.2)
    record = TrainingRecord(l2=1.0, training=500, validation=100, path=(trial,))
    (directory / module).mkdir(exist_ok=True)
    (directory / module / "training.json").write_text(json.dumps(asdict(record)))
    return Candidate({"tfhub_module": module}, directory / module, "8 x 8", "", seconds)


def test_a_faster_module_that_may_be_as_good_is_named(tmp_path: Path) -> None:
    found = search.faster(
        search.rank(
            [
                measured(tmp_path, "best", 0.95, 0.04),
                measured(tmp_path, "quick", 0.93, 0.02),
                measured(tmp_path, "quicker but worse", 0.87, 0.01),
                measured(tmp_path, "slower", 0.95, 0.05),
            ]
        )
    )
    assert found is not None
    assert found[0] == str(tmp_path / "quick")
    assert found[1].startswith("quick at 8 x 8 takes 50% of the time of the best module. The 100")


def test_a_faster_module_that_is_worse_and_a_slower_one_are_not(tmp_path: Path) -> None:
    best = measured(tmp_path, "best", 0.95, 0.04)
    worse = measured(tmp_path, "worse", 0.7, 0.01)
    slower = measured(tmp_path, "slower", 0.95, 0.05)
    assert search.faster(search.rank([best, worse, slower])) is None


def test_the_command_for_a_head_keeps_its_options_apart() -> None:
    command = search.command("my photos", "out", {"tfhub_module": "my module", "l2": 0.0})
    assert shlex.split(command) == [
        *("make", "train", "IMAGE_DIR=my photos", "OUTPUT_DIR=out"),
        "OPTIONS=--tfhub-module 'my module' --l2 0.0",
    ]


def test_without_validation_photos_heads_are_listed_all_the_same(tmp_path: Path) -> None:
    trained = training.train(in_memory(*points(80, 3, 7)), lambda: iter([]))
    softmax_head.write(*trained, tmp_path / "head")
    table = search.rank([Candidate({"tfhub_module": "m", "l2": 0}, tmp_path / "head", "8 x 8")] * 2)
    assert len(table) == 2
    assert table["validation_accuracy"].isna().all()
    assert "there are no validation photos" in next(search.summary_lines(table))
    assert search.faster(table) is None
