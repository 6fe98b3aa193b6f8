"""The pipeline on photos in S3: the same results as from disk, with few requests."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.files import object_store, places
from pipeline.photos import tars
from tasks import ComputeBottlenecks, ExportModel, PredictImages, SplitDataset
from tests.support.commands import luigi
from tests.support.objects import Fault, Objects
from tests.support.photos import PhotoMaker
from tests.support.steps import ALL, STEPS, Pipeline
from tests.support.store import Store
from tests.support.tars import pack, pack_folder

LISTING = r"GET /bucket\?list-type=2.*"


def reads(objects: Objects) -> list[str]:
    """Return the objects that were read since the last call, apart from one listing."""
    requests = [request for request in objects.requests if not re.fullmatch(LISTING, request)]
    assert len(objects.requests) - len(requests) == 1
    objects.requests.clear()
    return requests


def tables(out: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of photos and vectors of a run, without times and versions."""
    times = ["mtime_ns", "ctime_ns"]
    (manifest,) = out.glob("manifests/*.parquet")
    classes = sorted(out.glob("bottlenecks/*/[!p]*/*.parquet"))
    (predictions,) = out.glob("models/*/predictions.parquet")
    found = {path.parent.name: pd.read_parquet(path) for path in classes}
    found["manifest"] = pd.read_parquet(manifest).drop(columns=times)
    return found | {"predictions": pd.read_parquet(predictions)}


@pytest.mark.slow
def test_a_bucket_gives_what_a_disk_gives(
    options: dict[str, Any], photo_dir: Path, objects: Objects, make_photo: PhotoMaker
) -> None:
    (photo_dir / "red_rose/damaged.jpg").write_bytes(b"no photo")
    out = options["output_dir"]
    copies = {"augmentations": 1, "random_crop": 10}
    disk = Pipeline(**options, **copies)
    disk.run()
    expected = tables(out)
    shutil.rmtree(out / "manifests")
    shutil.rmtree(out / "bottlenecks")
    shutil.rmtree(out / "models")

    url = places.parse(objects.put_folder(photo_dir, "photos"))
    bucket = Pipeline(**(options | copies | {"image_dir": url}))
    assert bucket.run() == ["ComputeBottlenecks", "ExportModel", "SplitDataset"]
    found = tables(out)
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)
    # Once to look at it, once for its vectors; the test photos for the exported files.
    assert len(reads(objects)) == 49 + 48 + len(expected["predictions"])

    assert bucket.run() == []
    assert reads(objects) == []
    objects.put("photos/red_rose/3.jpg", (photo_dir / "red_rose/3.jpg").read_bytes())
    assert bucket.run() == []
    assert reads(objects) == []

    objects.put("photos/red_rose/3.jpg", make_photo(photo_dir / "3.jpg", 2, 99).read_bytes())
    assert bucket.run() == sorted([*STEPS, "SplitDataset"])
    assert "Bottlenecks: 2 computed, 86 reused" in bucket.lines
    changed = [request for request in reads(objects) if request.endswith("/red_rose/3.jpg")]
    assert changed[:2] == ["GET /bucket/photos/red_rose/3.jpg"] * 2


@pytest.mark.slow
def test_every_step_works_on_a_bucket(
    options: dict[str, Any], photo_dir: Path, objects: Objects
) -> None:
    shutil.copy(photo_dir / "red_rose/0.jpg", photo_dir / "red_rose/copy.jpg")
    photo = (photo_dir / "red_rose/1.jpg").read_bytes()
    broken = pack({"no label.jpg": photo, "red_rose/more.jpg": photo})[:4096]
    objects.put("photos/more.tar", broken)
    objects.put("photos/red_rose/empty.jpg", b"")
    url = places.parse(objects.put_folder(photo_dir, "photos"))
    options |= {"image_dir": url, "tflite": "int8", "group_duplicates": True}
    pipeline = Pipeline(**options)
    assert pipeline.run() == sorted(ALL)
    output = "\n".join(pipeline.lines)
    assert "/no label.jpg: has no label in its tar file; see docs/stores.md" in output
    assert "more.tar:4096:0/(the rest): the tar file is truncated here; copy it again" in output
    report = pipeline.task.output().path
    assert "data:image/jpeg;base64" in Path(report, "report.html").read_text()
    predicting = Pipeline(output_dir=options["output_dir"], images=str(url))
    predicting.task_class = PredictImages
    assert predicting.run() == ["PredictImages"]
    rows = pd.read_parquet(Path(predicting.task.output().path) / "predictions.parquet")
    assert rows["path"][0] == "s3://bucket/photos/green leaf/0.jpg"
    assert rows[rows["problem"] != ""]["path"].to_list() == [f"{url}/red_rose/empty.jpg"]
    rows = rows[rows["problem"] == ""]
    assert rows["labels"].str[0].to_list() == rows["path"].str.split("/").str[4].to_list()


def test_tasks_of_a_bucket_are_told_apart_and_written_down(objects: Objects) -> None:
    task = SplitDataset(image_dir="s3://bucket/photos/")
    again = SplitDataset.from_str_params(task.to_str_params())
    assert again.image_dir == task.image_dir == places.parse("s3://bucket/photos")
    assert again.task_id == task.task_id != ExportModel(image_dir="s3://bucket/other").task_id
    assert task.requires() == []
    assert objects.requests == []


@pytest.mark.slow
def test_an_inspection_that_breaks_off_goes_on_in_the_next_run(
    options: dict[str, Any],
    photo_dir: Path,
    objects: Objects,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)
    url = places.parse(objects.put_folder(photo_dir, "photos"))
    pipeline = Pipeline(**(options | {"image_dir": url}))
    pipeline.task_class = ComputeBottlenecks
    objects.faults = [Fault("GET .*/red_rose/2.jpg", 500)]
    with pytest.raises(AssertionError):
        pipeline.run()
    assert "s3://bucket/photos/red_rose/2.jpg cannot be read in 5 attempts: " in caplog.text
    objects.faults.clear()
    objects.requests.clear()
    assert pipeline.run() == ["ComputeBottlenecks", "SplitDataset"]
    assert len([request for request in objects.requests if "green" in request]) == 24  # for vectors
    assert len(list((options["output_dir"] / "manifests").iterdir())) == 1


@pytest.mark.slow
def test_shards_give_what_files_give(
    options: dict[str, Any], photo_dir: Path, tmp_path: Path, objects: Objects
) -> None:
    disk = Pipeline(**options)
    disk.run()
    expected = tables(options["output_dir"])
    packed = pack_folder(photo_dir, tmp_path / "packed", 4)
    url = places.parse(objects.put_folder(packed, "packed"))
    for number, place in enumerate((packed, url)):
        out = tmp_path / f"out{number}"
        pipeline = Pipeline(**(options | {"image_dir": place, "output_dir": out}))
        pipeline.task_class = ComputeBottlenecks
        assert pipeline.run() == ["ComputeBottlenecks", "PrepareModule", "SplitDataset"]
        pipeline.task_class = ExportModel
        assert "SplitDataset" not in pipeline.run()
        found = tables(out)
        for name in ("manifest", "predictions"):
            paths = found[name]["path"].map(tars.unpacked)
            pd.testing.assert_frame_equal(found[name].assign(path=paths), expected[name])
        rows = [pd.concat([t for n, t in all_.items() if "-" in n]) for all_ in (found, expected)]
        by_digest = [r.set_index("digest").sort_index() for r in rows]
        pd.testing.assert_series_equal(by_digest[0]["vector"], by_digest[1]["vector"])
        assert pipeline.run() == []


def test_the_vectors_of_a_shard_take_one_request(
    store: Store, photo_dir: Path, tmp_path: Path, objects: Objects
) -> None:
    packed = pack_folder(photo_dir, tmp_path / "packed", 4)
    there = replace(store, image_dir=places.parse(objects.put_folder(packed, "packed")))
    assert there.run().computed == 48
    assert len(objects.requests) == 1 + 4 + 4  # the listing, a look at each shard, and its vectors


@pytest.mark.slow
def test_workers_that_fork_read_a_bucket(photo_dir: Path, tmp_path: Path, objects: Objects) -> None:
    url = objects.put_folder(photo_dir, "photos")
    options = ("--image-dir", url, "--output-dir", tmp_path / "out", "--workers", 2)
    done = luigi("SplitDataset", *options)
    assert done.returncode == 0, done.stderr
    assert "40 training, 4 validation, 4 testing, 0 set aside" in done.stderr
