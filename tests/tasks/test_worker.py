"""Several worker processes that share a luigid and an output folder."""

import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks import ExportModel, PlanShards
from tests.support.commands import ROOT, Luigid, environment, run
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import tunable_module

pytestmark = pytest.mark.slow  # every test starts processes


class Worker:
    """A running worker and its log."""

    def __init__(self, log: Path, task: str, url: str, **options: object) -> None:
        self.log = log
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        command = [sys.executable, "-m", "tasks.worker", task, "--scheduler-url", url, *words]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=file, stderr=file
            )

    def log_matches(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())


def rows(out: Path) -> pd.DataFrame:
    parts = sorted(out.glob("bottlenecks/*/*-*/*.parquet"))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def test_four_workers_divide_the_work_and_end_as_one(
    options: dict[str, Any], luigid: Luigid, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    # Otherwise, the one that has already imported TensorFlow would take all shards.
    run(PlanShards(**options, shard_size=4))
    workers = [
        Worker(log / str(number), "ExportModel", luigid.url, shard_size=4, **options)
        for number in range(4)
    ]
    assert [worker.process.wait(240) for worker in workers] == [0, 0, 0, 0], workers[0].log_matches(
        ".*"
    )
    computed = [
        worker.log_matches(r"Shard (\d+)\. Bottlenecks: (\d+) computed") for worker in workers
    ]
    shards = sorted(int(number) for worker_shards in computed for number, _ in worker_shards)
    assert shards == list(range(12))  # each once
    assert (
        sum(int(count) for worker_shards in computed for _, count in worker_shards) == 48
    )  # no photo twice
    assert sum(map(bool, computed)) > 1
    run(ExportModel(**{**options, "output_dir": tmp_path / "alone"}))
    pd.testing.assert_frame_equal(rows(options["output_dir"]), rows(tmp_path / "alone"))
    weights = [
        np.load(out / "current/head.npz")["weights"]
        for out in (options["output_dir"], tmp_path / "alone")
    ]
    assert np.array_equal(*weights)


def test_the_work_of_a_worker_that_dies_is_taken_over(
    options: dict[str, Any], luigid: Luigid, tmp_path: Path
) -> None:
    luigid.stop()
    (luigid.directory / "luigi.cfg").write_text("[scheduler]\nworker_disconnect_delay = 5\n")
    luigid.start()
    quick = {"worker_max_keep_alive_idle_duration": "3 seconds", "shard_size": 1}
    one = Worker(tmp_path / "1", "ComputeBottlenecks", luigid.url, **options, **quick)
    while not one.log_matches("Shard "):
        assert one.process.poll() is None, one.log_matches(".*")
        time.sleep(0.01)
    one.process.kill()
    one.process.wait()
    two = Worker(tmp_path / "2", "ComputeBottlenecks", luigid.url, **options, **quick)
    assert two.process.wait(240) == 0, two.log_matches(".*")
    done = [int(n) for worker in (one, two) for n in worker.log_matches(r"Shard (\d+)\. ")]
    assert len(one.log_matches("Shard ")) < 48
    assert set(done) == set(range(48))
    assert len(rows(options["output_dir"])) == 48


def test_two_workers_fine_tune_once_and_show_how_far_it_is(
    luigid: Luigid, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    for hue, label in enumerate(("one", "two", "three")):
        for seed in range(32):
            make_photo(tmp_path / "photos" / label / f"{seed}.jpg", hue, seed)
    options = {
        "image_dir": tmp_path / "photos",
        "tfhub_module": tunable_module(tmp_path / "mixer"),
        "output_dir": tmp_path / "out",
        "validation_percentage": 30,
        "fine_tune_epochs": 4,
        "fine_tune_learning_rate": 0.05,
        "fine_tune_batch_size": 8,
    }
    workers = [Worker(tmp_path / str(n), "ExportModel", luigid.url, **options) for n in range(2)]
    assert [worker.process.wait(240) for worker in workers] == [0, 0], workers[0].log_matches(".*")
    took = [line for worker in workers for line in worker.log_matches(r"(\w+) took ")]
    assert took.count("FineTuneModule") == 1
    assert took.count("ComputeBottlenecks") == 2  # frozen and fine-tuned
    assert len(list(tmp_path.glob("out/tuned/*/mixer"))) == 1
    query = urllib.parse.urlencode({"data": json.dumps({"status": "DONE"})})
    with urllib.request.urlopen(f"{luigid.url}/api/task_list?{query}") as answer:
        tasks = json.load(answer)["response"].values()
    (tuning,) = (task for task in tasks if task["name"] == "FineTuneModule")
    assert re.fullmatch(r"4 of 4 epochs; the best is \d", tuning["status_message"])
    assert tuning["progress_percentage"] == 100


def test_what_fails_again_and_again_ends_the_worker(luigid: Luigid, tmp_path: Path) -> None:
    out, nowhere = tmp_path / "out", tmp_path / "nowhere"
    options = {"image_dir": nowhere, "output_dir": out}
    quick = {"worker_max_keep_alive_idle_duration": "1 second"}
    worker = Worker(tmp_path / "log", "SplitDataset", luigid.url, **options, **quick)
    assert worker.process.wait(60) == 30
    assert worker.log_matches("Failed 3 of 3 times")
    assert worker.log_matches(f"image_dir: there is no folder {nowhere}")
    assert not worker.log_matches("Traceback")
