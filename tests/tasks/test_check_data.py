"""CheckData: findings are written, and fail_on stops the run."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi
import pandas as pd
import pytest

from pipeline.review import last_run
from tasks import CheckData, EvaluateModel, SplitDataset, check_data, split_dataset
from tasks.messages import logger


@pytest.fixture
def options(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> dict[str, Any]:
    """Add a photo to a second class."""
    shutil.copy(photo_dir / "red_rose/3.jpg", photo_dir / "green leaf/rose.jpg")
    out = tmp_path / "out"
    return {"image_dir": photo_dir, "tfhub_module": str(tiny_module), "output_dir": out}


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """Collect the error messages that users see."""
    lines: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def run(task: luigi.Task) -> bool:
    for memo in (split_dataset._list_photos, split_dataset._read_summary):
        memo.cache_clear()
    return bool(luigi.build([task], local_scheduler=True, log_level="INFO", no_lock=True))


def test_without_a_gate_findings_are_written_and_the_run_goes_on(options: dict[str, Any]) -> None:
    task = EvaluateModel(**options)
    assert run(task)
    (findings,) = (options["output_dir"] / "checks").glob("*.parquet")
    assert "conflict" in set(pd.read_parquet(findings)["kind"])
    evaluation = Path(task.output().path)
    assert pd.read_parquet(evaluation / "findings.parquet").equals(pd.read_parquet(findings))


def test_a_gate_fails_each_time_and_keeps_the_findings(
    options: dict[str, Any], errors: list[str]
) -> None:
    assert run(EvaluateModel(**options))
    for _ in range(2):
        assert not run(EvaluateModel(**options, fail_on="conflict"))
        assert errors[-1].startswith("fail_on: data checks failed: ")
        assert "green leaf/rose.jpg and red_rose/3.jpg" in errors[-1]
    assert len(errors) == 2
    assert len(list((options["output_dir"] / "checks").glob("*.parquet"))) == 1
    assert len(list((options["output_dir"] / "evaluations").iterdir())) == 1


def test_every_run_is_the_last_one_even_without_work(
    options: dict[str, Any], photo_dir: Path, tmp_path: Path
) -> None:
    def last(**changed: Any) -> tuple[Any, Any]:
        check_data._first.clear()
        run(EvaluateModel(**{**options, **changed}))
        found = last_run.find(options["output_dir"])
        return found.image_dir, found.options.get("l2")

    other = shutil.copytree(photo_dir, tmp_path / "other")
    assert last() == (photo_dir, None)
    assert last(image_dir=other, l2=0.5) == (other, "0.5")
    assert last() == (photo_dir, None)  # everything is complete
    assert last(l2=0.25, fail_on="conflict") == (photo_dir, "0.25")  # it fails


def test_a_gate_opens_when_the_fault_is_mended(options: dict[str, Any], photo_dir: Path) -> None:
    assert not run(CheckData(**options, fail_on="conflict,leak"))
    (photo_dir / "green leaf/rose.jpg").unlink()
    assert run(CheckData(**options, fail_on="conflict"))


def test_a_gate_may_be_written_in_several_ways(options: dict[str, Any]) -> None:
    assert CheckData(**options, fail_on=" leak,conflict") == CheckData(
        **options, fail_on="conflict, leak"
    )


def test_grouping_duplicates_makes_another_manifest(options: dict[str, Any]) -> None:
    apart, together = (
        SplitDataset(image_dir=options["image_dir"]),
        SplitDataset(image_dir=options["image_dir"], group_duplicates=True),
    )
    assert apart.output().path != together.output().path
