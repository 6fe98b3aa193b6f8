"""Cost of distributing the work: `make bench-engine`, or `python -m benchmarks.engine --help`.

Each engine computes the bottlenecks of few and of many photos, with the users' command, from the
start of the process to complete classes. The difference yields the speed of the running engine, and
the rest its start-up time. Then the processor time of the parts that grow with the data set is
measured on synthetic rows: planning shards, assembling classes from shards, and luigid's work per
task.

Ray listens on all addresses; a separate network namespace isolates it:

    unshare -rn sh -c 'ip link set lo up && make bench-engine'
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from luigi.scheduler import Scheduler

from benchmarks import data
from benchmarks.bottlenecks import MODULE, alone, show
from pipeline.bottlenecks import cache, shards, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.modules import preparation
from pipeline.modules.engines import FLOAT32
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import ClassSummary

BIN = Path(sys.executable).parent
SHARD = 500  # photos: small, so that two workers finish at about the same time


@contextmanager
def luigid() -> Iterator[str]:
    """Run luigid on a free port, on 127.0.0.1 only; yield its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [BIN / "luigid", "--address", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, cwd=home, stderr=subprocess.DEVNULL)
        try:
            for _ in range(300):
                with socket.socket() as client:
                    if not client.connect_ex(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def run(image_dir: Path, out: Path, processes: int, command: list[str], *options: str) -> float:
    """Return the seconds that `count` equal processes take for the bottlenecks."""
    arguments = ["--image-dir", image_dir, "--output-dir", out, *options]
    for task in ("SplitDataset", "PrepareModule"):
        chosen = arguments[:4] if task == "SplitDataset" else arguments[2:4]
        first = [BIN / "luigi", "--module", "tasks", task, *chosen]
        subprocess.run(list(map(str, first)), check=True, capture_output=True)
    shutil.rmtree(out / "bottlenecks", ignore_errors=True)
    start = time.perf_counter()
    words = list(map(str, [*command, "ComputeBottlenecks", *arguments]))
    with tempfile.TemporaryFile() as log:
        at_work = [subprocess.Popen(words, stdout=log, stderr=log) for _ in range(processes)]
        codes = [process.wait() for process in at_work]
        if any(codes):
            log.seek(0)
            raise RuntimeError(log.read().decode())
    return time.perf_counter() - start


def engines(sets: list[Path], scratch: Path, rounds: int) -> list[dict[str, Any]]:
    """Print the table of engines: the best of several rounds, as other load only slows down."""
    once = [str(BIN / "luigi"), "--module", "tasks"]
    with luigid() as url:
        worker = [sys.executable, "-m", "tasks.worker"]
        divided = ("--scheduler-url", url, "--shard-size", str(SHARD))
        ray = ("--engine", "ray", "--shard-size", str(SHARD), "--ray-actors")
        kinds: dict[str, tuple[int, list[str], tuple[str, ...]]] = {
            "local": (1, once, ("--shard-size", "1000000")),
            "Luigi, 1 worker": (1, worker, divided),
            "Luigi, 2 workers": (2, worker, divided),
            "Ray, 1 actor": (1, once, (*ray, "1")),
            "Ray, 2 actors": (1, once, (*ray, "2")),
        }
        taken: dict[str, list[float]] = {kind: [np.inf] * len(sets) for kind in kinds}
        for number in range(rounds):
            for kind, (processes, command, options) in kinds.items():
                for i, folder in enumerate(sets):
                    out = scratch / f"out {number} {kind} {i}"  # a new one: luigid remembers tasks
                    seconds = run(folder, out, processes, command, *options)
                    shutil.rmtree(out)
                    taken[kind][i] = min(taken[kind][i], seconds)
    few, many = (len(list_photos(folder).photos) for folder in sets)
    rows = []
    for kind, (short, long) in taken.items():
        rate = (many - few) / (long - short)
        rows.append({"engine": kind, f"{few:,} photos, s": short, f"{many:,} photos, s": long})
        rows[-1] |= {"photos a second, running": rate, "start and end, s": short - few / rate}
    for row in rows:
        row["of local's rate, %"] = (
            100 * row["photos a second, running"] / rows[0]["photos a second, running"]
        )
    return rows


def growth(count: int, scratch: Path) -> dict[str, float]:
    """Measure planning and assembling, on synthetic photos of 100 classes."""
    module = preparation.prepare(MODULE, scratch / "modules")
    recipe = Recipe(module, FLOAT32, "float16")
    generator = np.random.default_rng(0)
    digests = [generator.bytes(32).hex() for _ in range(count)]
    labels = np.sort(np.array([f"class {i % 100:03}" for i in range(count)]))
    paths = [f"{label}/{i:09}.jpg" for i, label in enumerate(labels)]
    facts = {"size": 1, "mtime_ns": 1, "split": "training", "status": "ok"}
    rows = pd.DataFrame({"label": labels, "path": paths, "digest": digests, **facts})
    names = sorted(set(labels))
    classes = [ClassSummary(name, "0" * 12, count // 100, 0, 0, 0) for name in names]
    store = scratch / "store"
    directory = shards.directory(store, recipe, "manifest", 10_000)
    start = time.process_time()
    shards.divide(rows, recipe, store, directory, 10_000)
    divided = time.process_time() - start
    for number, listed in enumerate(sorted(shards.todo(directory).iterdir())):
        todo = pd.read_parquet(listed)
        made = generator.gamma(1, 0.3, (len(todo), module.features)).astype(np.float16)
        made[generator.random(made.shape) < 0.4] = 0  # compresses about as well as real vectors
        keys = todo["digest"].to_numpy(object), todo["variant"].to_numpy(np.int8)
        cache.write(shards.file(directory, number), *keys, made, recipe)
    start = time.process_time()
    counts = writer.compute(rows, classes, scratch, recipe, store)
    together = time.process_time() - start
    assert counts.computed == 0
    shutil.rmtree(directory)
    start = time.process_time()
    shards.divide(rows, recipe, store, directory, 10_000)
    again = time.process_time() - start
    written = sum(path.stat().st_size for path in store.rglob("part-*.parquet"))
    return {
        "photos": count,
        "divide an empty store, CPU µs a photo": 1e6 * divided / count,
        "divide a full store, CPU µs a photo": 1e6 * again / count,
        "classes from shards, CPU µs a photo": 1e6 * together / count,
        "bytes a photo": written / count,
    }


def tasks(count: int) -> dict[str, float]:
    """Measure luigid's processor time for adding and assigning one of many tasks."""
    scheduler = Scheduler(record_task_history=False)
    names = [f"ComputeShard_{number}" for number in range(count)]
    start = time.process_time()
    for name in names:
        scheduler.add_task(worker="w", task_id=name, family="ComputeShard", params={})
    added = time.process_time() - start
    start = time.process_time()
    for _ in range(20):
        work = scheduler.get_work(worker="w", current_tasks=[])
        scheduler.add_task(worker="w", task_id=work["task_id"], status="DONE")
    gave = time.process_time() - start
    return {
        "tasks": count,
        "add one, CPU ms": 1e3 * added / count,
        "give one out, CPU ms": 1e3 * gave / 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the engines of the bottleneck stage.")
    parser.add_argument("--image-dir", type=Path, help="photos (default: crops of two photographs)")
    parser.add_argument("--counts", type=int, nargs=2, default=[1_000, 5_000])
    parser.add_argument("--rows", type=int, default=200_000, help="synthetic photos")
    parser.add_argument("--tasks", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=2, help="the best one counts")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        image_dir = arguments.image_dir or data.crops(scratch / "crops")
        sets = [
            data.variations(image_dir, scratch / f"photos {count}", count)
            for count in arguments.counts
        ]
        rows = engines(sets, scratch, arguments.rounds)
        show(rows)
        grown = alone(growth, arguments.rows, scratch / "growth")
        show([grown])
        scheduled = [tasks(count) for count in arguments.tasks]
        show(scheduled)
    arguments.results.mkdir(parents=True, exist_ok=True)
    results = {"engines": rows, "growth": grown, "luigid": scheduled}
    (arguments.results / "engine.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
