"""The pipeline with its output folder in S3: machines share their results."""

from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.files import object_store, output_store
from pipeline.nightly import history
from tests.support.objects import LOCAL, URL, Fault, Objects, stored
from tests.support.photos import PhotoMaker
from tests.support.processes import results
from tests.support.steps import ALL, Pipeline


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)


class Machine(Pipeline):
    """A machine that has only the photos and perhaps an old mirror."""

    def __init__(self, options: dict[str, Any], work_dir: Path, **more: Any) -> None:
        super().__init__(**(options | {"output_dir": URL, "work_dir": work_dir} | more))
        self.out = output_store.local_folder(URL, work_dir)

    def run(self, **options: Any) -> list[str]:
        output_store.open_store.cache_clear()  # as in a new process
        return super().run(**options)

    @property
    def current(self) -> str:
        return (self.out / "current").resolve().name


@pytest.mark.slow
def test_a_store_holds_what_a_local_run_makes(
    options: dict[str, Any], objects: Objects, tmp_path: Path
) -> None:
    assert Pipeline(**options).run() == sorted(ALL)
    expected = {
        name: digest
        for name, digest in results(options["output_dir"]).items()
        if not name.startswith((*LOCAL, "modules/"))
    }
    assert Machine(options, tmp_path / "here").run() == sorted(ALL)
    assert stored(tmp_path / "stored") == expected
    assert any("PUT" in request for request in objects.requests)


@pytest.mark.slow
def test_a_fresh_machine_finds_everything_done(
    options: dict[str, Any], objects: Objects, tmp_path: Path
) -> None:
    here = Machine(options, tmp_path / "here")
    here.run()
    there = Machine(options, tmp_path / "there")
    objects.requests.clear()
    assert there.run() == []
    listings = [request for request in objects.requests if "list-type" in request]
    assert len(listings) == 4  # manifests, modules, models and checks
    assert not any(request.startswith("PUT") for request in objects.requests)
    assert not list(there.out.glob("bottlenecks/*"))  # not downloaded, as no step needs them
    assert there.current == here.current
    assert (there.out / "serving/1/saved_model.pb").exists()
    objects.requests.clear()
    assert there.run() == []
    assert len(objects.requests) == 8

    # For another head, the vectors are downloaded, and none is computed.
    third = Machine(options, tmp_path / "third")
    assert third.run(l2=0.5) == ["EvaluateModel", "ExportModel", "TrainHead"]
    assert there.run(l2=0.5) == []
    assert there.current == third.current != here.current
    promoted = [move.model for move in history.promotions(there.out)]
    assert promoted == [here.current, there.current]


@pytest.mark.slow
def test_a_fresh_machine_computes_only_what_is_new(
    options: dict[str, Any], objects: Objects, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    here = Machine(options, tmp_path / "here")
    here.run()
    make_photo(options["image_dir"] / "red_rose/new.jpg", 2, 99)
    there = Machine(options, tmp_path / "there")
    there.run()
    assert "Bottlenecks: 1 computed, 48 reused" in there.lines
    assert here.run() == []
    assert here.current == there.current
    assert objects.requests


@pytest.mark.slow
def test_a_run_that_could_not_upload_is_taken_up(
    options: dict[str, Any], objects: Objects, tmp_path: Path
) -> None:
    here = Machine(options, tmp_path / "here")
    objects.faults = [Fault("PUT .*/heads/.*", 500)]
    with pytest.raises(AssertionError):
        here.run()
    assert any("TrainHead took" in line for line in here.lines)
    (line,) = (line for line in here.lines if "/heads/" in line)
    assert line.startswith("output_dir: s3://bucket/out/heads/")
    assert line.endswith("run again: finished work is kept")
    objects.faults = []
    assert here.run() == ["EvaluateModel", "ExportModel"]  # CheckData had finished


@pytest.mark.slow
def test_a_store_that_is_silent_stops_a_run_at_once(
    options: dict[str, Any], objects: Objects, tmp_path: Path
) -> None:
    objects.faults = [Fault(".*", 500)]
    here = Machine(options, tmp_path / "here")
    with pytest.raises(AssertionError):
        here.run()
    (line,) = (line for line in here.lines if "output_dir" in line)
    assert line.startswith("output_dir: s3://bucket/out/last_run.json: ")
    assert "\n" not in line
    assert not any("took" in line for line in here.lines)
    assert len(objects.requests) == object_store.ATTEMPTS


@pytest.mark.slow
def test_shards_of_one_machine_serve_the_others(
    options: dict[str, Any], objects: Objects, tmp_path: Path
) -> None:
    here = Machine(options, tmp_path / "here", shard_size=20)
    objects.faults = [Fault("PUT .*/bottlenecks/.*/part-00000.parquet", 500)]
    with pytest.raises(AssertionError):
        here.run()
    assert any("Bottlenecks: 0 computed, 48 reused" in line for line in here.lines)  # from shards
    objects.faults = []
    there = Machine(options, tmp_path / "there", shard_size=20)
    there.run()
    assert "Bottlenecks: 0 computed, 48 reused" in there.lines
    assert not any(line.startswith("Shard ") for line in there.lines)
    store = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    assert [name for name in store.find("bucket/out") if "/shards/" in name] == []
