"""Timings: what is written down is read again."""

from pathlib import Path

from pipeline.files import timings


def test_what_ran_is_read_again_the_oldest_first(tmp_path: Path) -> None:
    timings.add(tmp_path / "out", "SplitDataset", tmp_path / "out/manifests/a.parquet", 1.234)
    timings.add(tmp_path / "out", "TrainHead", tmp_path / "out/heads/b", 2)
    first, second = timings.read(tmp_path / "out")
    assert (first.step, first.target, first.seconds) == (
        "SplitDataset",
        "manifests/a.parquet",
        1.23,
    )
    assert second.step == "TrainHead"
    assert second.finished.endswith("+00:00")


def test_the_last_run_of_a_target_counts(tmp_path: Path) -> None:
    for seconds in (1, 2):
        timings.add(tmp_path, "TrainHead", tmp_path / "heads/b", seconds)
    timings.add(tmp_path, "TrainHead", tmp_path / "heads/c", 3)
    found = timings.last(timings.read(tmp_path), tmp_path, tmp_path / "heads/b")
    assert found is not None
    assert found.seconds == 2
    assert timings.last(timings.read(tmp_path), tmp_path, tmp_path / "heads/d") is None


def test_a_damaged_line_is_passed_over(tmp_path: Path) -> None:
    timings.add(tmp_path, "TrainHead", tmp_path / "heads/b", 1)
    with (tmp_path / "timings.jsonl").open("a") as file:
        file.write('{"step": "Tra\n[]\n{"other": 1}\n')
    assert [t.step for t in timings.read(tmp_path)] == ["TrainHead"]


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert timings.read(tmp_path / "nowhere") == []
