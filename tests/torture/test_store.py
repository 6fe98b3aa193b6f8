"""Uploads to S3 killed by SIGKILL: no result is published incomplete."""

import subprocess
import time
from pathlib import Path

import fsspec
import pytest

from tests.support.commands import ROOT, environment, luigi
from tests.support.objects import LOCAL, URL, Fault, Objects, stored
from tests.support.processes import Pipeline, kill, results


def complete(kind: str) -> list[str]:
    """Return the results of one kind that are marked as complete."""
    store = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    return [name for name in store.glob(f"bucket/out/{kind}/*") if name.endswith(".complete")]


def await_request(objects: Objects, text: str, process: "subprocess.Popen[str]") -> None:
    while not any(request.startswith("PUT") and text in request for request in objects.requests):
        time.sleep(0.02)
        assert process.poll() is None


@pytest.mark.torture
def test_uploads_that_are_killed_are_ended_by_the_next_run(
    photo_dir: Path, tiny_module: Path, tmp_path: Path, objects: Objects
) -> None:
    pipeline = Pipeline(photo_dir, tiny_module, tmp_path / "log")
    place = [Path(URL), "--work-dir", tmp_path / "work"]
    command = [URL if word == str(place[0]) else word for word in pipeline.command(*place)]
    output = []
    for kind, file in (("bottlenecks", "part-00000.parquet"), ("models", "saved_model.pb")):
        objects.faults = [Fault(f"PUT .*/{kind}/.*{file}", "stall")]
        objects.requests.clear()
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stderr=log, start_new_session=True, text=True
            )
        await_request(objects, file, process)
        kill(process)
        output.append(pipeline.output())
        assert complete(kind) == []
    objects.faults = []
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    computed = [text.count("48 computed, 0 reused") for text in (*output, done.stderr)]
    assert computed == [1, 0, 0]
    assert "TrainHead took" not in done.stderr

    luigi(
        "ExportModel",
        *("--image-dir", photo_dir, "--tfhub-module", tiny_module),
        *("--output-dir", tmp_path / "local"),
    )
    own = (*LOCAL, "modules/")
    expected = {k: v for k, v in results(tmp_path / "local").items() if not k.startswith(own)}
    assert stored(tmp_path / "stored") == expected
