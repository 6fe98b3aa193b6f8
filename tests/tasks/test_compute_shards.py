"""Shards computed by one worker: the same rows, and no additional work."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tasks import (
    ComputeBottlenecks,
    ComputeShards,
    PlanShards,
    compute_bottlenecks,
    compute_shards,
)
from tests.support.photos import PhotoMaker
from tests.support.steps import Pipeline
from tests.support.tars import pack_folder


class Bottlenecks(Pipeline):
    """ComputeBottlenecks, with small shards by default."""

    task_class = ComputeBottlenecks

    def run(self, **options: object) -> list[str]:
        compute_shards._count_photos.cache_clear()
        return super().run(**{"shard_size": 20, **options})

    def rows(self) -> pd.DataFrame:
        parts = sorted(Path(target.path) for target in self.task.output())
        return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)

    def lines_starting(self, begin: str) -> list[str]:
        return sorted(line for line in self.lines if line.startswith(begin))


@pytest.fixture
def pipeline(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Iterator[Bottlenecks]:
    yield Bottlenecks(
        image_dir=photo_dir, tfhub_module=str(tiny_module), output_dir=tmp_path / "out"
    )
    compute_shards._count_photos.cache_clear()


def test_few_photos_are_not_divided(pipeline: Bottlenecks) -> None:
    ran = pipeline.run(shard_size=48)
    assert ran == ["ComputeBottlenecks", "PrepareModule", "SplitDataset"]
    assert pipeline.lines_starting("Bottlenecks: ") == ["Bottlenecks: 48 computed, 0 reused"]


def test_divided_or_not_the_rows_are_the_same(pipeline: Bottlenecks, tmp_path: Path) -> None:
    ran = pipeline.run()
    divided = pipeline.rows()
    assert [name for name in ran if name == "ComputeShard"] == ["ComputeShard"] * 3
    assert pipeline.lines_starting("Vectors: ") == ["Vectors: 48 to compute, in 3 shards"]
    assert [line.split(". ")[1] for line in pipeline.lines_starting("Shard ")] == [
        "Bottlenecks: 20 computed, 0 reused",
        "Bottlenecks: 20 computed, 0 reused",
        "Bottlenecks: 8 computed, 0 reused",
    ]
    assert pipeline.lines_starting("Bottlenecks: ") == ["Bottlenecks: 0 computed, 48 reused"]
    assert list(tmp_path.glob("out/bottlenecks/*/shards/*")) == []
    pipeline.run(shard_size=100, output_dir=tmp_path / "whole")
    pd.testing.assert_frame_equal(pipeline.rows(), divided)


def test_lists_of_photos_that_were_touched_since_are_made_anew(
    pipeline: Bottlenecks, tmp_path: Path
) -> None:
    pipeline.run()
    (lost,) = tmp_path.glob("out/bottlenecks/*/red*")
    shutil.rmtree(lost)
    pipeline.task_class = PlanShards
    assert pipeline.run() == ["PlanShards"]  # and then the run is killed
    pipeline.task_class = ComputeBottlenecks
    for photo in pipeline.options["image_dir"].glob("*/*"):
        os.utime(photo, (1, 1))
    pipeline.run()
    assert pipeline.lines_starting("Vectors: ") == ["Vectors: 24 to compute, in 2 shards"]
    assert len(pipeline.rows()) == 48


def test_photos_in_tar_files_are_divided_once_they_are_counted(
    pipeline: Bottlenecks, tmp_path: Path
) -> None:
    pipeline.options["image_dir"] = pack_folder(
        pipeline.options["image_dir"], tmp_path / "packed", 2
    )
    assert "ComputeShard" not in pipeline.run()
    shutil.rmtree(tmp_path / "out/bottlenecks")
    assert pipeline.run() == ["ComputeBottlenecks", *["ComputeShard"] * 3, "PlanShards"]


def test_without_a_change_nothing_runs(pipeline: Bottlenecks) -> None:
    pipeline.run()
    assert pipeline.run() == []


def test_only_what_is_new_is_divided(pipeline: Bottlenecks, make_photo: PhotoMaker) -> None:
    pipeline.run()
    for seed in range(100, 103):
        make_photo(pipeline.options["image_dir"] / "red_rose" / f"{seed}.jpg", 1, seed)
    ran = pipeline.run()
    assert ran == ["ComputeBottlenecks", "ComputeShard", "PlanShards", "SplitDataset"]
    assert pipeline.lines_starting("Vectors: ") == ["Vectors: 3 to compute, in 1 shards"]


def test_a_lost_class_is_divided_anew(pipeline: Bottlenecks, tmp_path: Path) -> None:
    pipeline.run()
    (lost,) = tmp_path.glob("out/bottlenecks/*/red*")
    shutil.rmtree(lost)
    assert pipeline.run() == ["ComputeBottlenecks", *["ComputeShard"] * 2, "PlanShards"]
    assert pipeline.lines_starting("Vectors: ") == ["Vectors: 24 to compute, in 2 shards"]


def test_a_damaged_file_is_named_when_the_work_is_divided(
    pipeline: Bottlenecks, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    pipeline.run()
    make_photo(pipeline.options["image_dir"] / "red_rose/new.jpg", 1, 100)
    (part,) = tmp_path.glob("out/bottlenecks/*/red*/part-00000.parquet")
    os.truncate(part, part.stat().st_size // 2)
    pipeline.run()
    assert pipeline.lines_starting("Vectors: ") == ["Vectors: 25 to compute, in 2 shards"]
    assert pipeline.lines_starting("Deleted corrupt file ") == [
        f"Deleted corrupt file {part}; its missing vectors will be recomputed"
    ]


def test_finished_classes_need_no_shards(pipeline: Bottlenecks) -> None:
    pipeline.run()
    assert ComputeShards(**pipeline.options, shard_size=20).complete()


def test_classes_are_put_together_as_many_at_a_time_as_memory_allows(
    pipeline: Bottlenecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_bottlenecks, "GROUP_PHOTOS", 24)
    pipeline.run()
    assert pipeline.lines_starting("Bottlenecks: ") == ["Bottlenecks: 0 computed, 24 reused"] * 2
    assert len(pipeline.rows()) == 48
