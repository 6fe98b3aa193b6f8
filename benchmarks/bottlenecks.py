"""Speed of the bottleneck stage: `make bench`, or `python -m benchmarks.bottlenecks --help`.

Compares, in one run and on the same photos, retrain.py's method and a tf.data script with this
project's stage, and with the limits of the machine: decoding alone, the forward pass alone in each
engine, and decoding and the fastest engine sharing the processor, 1 / (1/decode + 1/forward). Then
runs the entire pipeline, also on 1,000 and 10,000 photos. Each measurement runs in a new process.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import contenders, data
from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction, writer
from pipeline.bottlenecks.extraction import BATCH
from pipeline.bottlenecks.recipe import Recipe
from pipeline.files import timings
from pipeline.modules import engines, frozen_graph, preparation
from pipeline.modules.engines import FLOAT32
from pipeline.modules.loading import Module
from pipeline.photos import inspection, manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule

MODULE = "efficientnet-lite0"
T = TypeVar("T")
RETRAIN_STEPS = 4000  # default of retrain.py
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def photo_paths(image_dir: Path) -> list[Path]:
    return [image_dir / path for path in list_photos(image_dir).photos["path"]]


def stage(image_dir: Path, module: Module, scratch: Path, precision: str) -> tuple[float, float]:
    """(b) Run the stage from an empty cache to complete Parquet files, without TensorFlow's start.

    Also return the speed after the first batch, which includes loading and tracing the module.
    """
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule())
    manifest.write(table, scratch / "manifest.parquet")
    rows = manifest.read(scratch / "manifest.parquet")
    rows = rows[rows["status"] == inspection.OK]
    classes = list(manifest.read_summary(scratch / "manifest.parquet").classes)
    recipe = Recipe(module, precision, "float16")
    tensorflow_import.import_tensorflow()
    after_first: list[float] = []

    def progress(done: int, _total: int, _message: str) -> None:
        if done and not after_first:
            after_first[:] = [time.perf_counter(), len(rows) - done]

    start = time.perf_counter()
    writer.compute(rows, classes, image_dir, recipe, scratch / "store", progress)
    end = time.perf_counter()
    shutil.rmtree(scratch / "store")
    return len(rows) / (end - start), after_first[1] / (end - after_first[0])


def alone(measure: Callable[..., T], *arguments: object) -> T:
    """Run a measurement in a new process."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def speeds(image_dir: Path, module: Module, scratch: Path, precision: str) -> dict[str, float]:
    """Measure each variant once, in photos per second."""
    on_tensorflow = replace(module, engine=engines.TENSORFLOW)
    paths = photo_paths(image_dir)
    ours, after_start = alone(stage, image_dir, module, scratch, precision)
    expert = contenders.expert
    measured = {
        "retrain.py's way": alone(contenders.retrain, paths, module, scratch / "text", False),
        "retrain.py's way, oneDNN": alone(contenders.retrain, paths, module, scratch / "t", True),
        "tf.data script float32": alone(expert, paths, module, scratch, FLOAT32),
        f"tf.data script {precision}": alone(expert, paths, module, scratch, precision),
        "ours, TensorFlow": alone(stage, image_dir, on_tensorflow, scratch, precision)[0],
        "ours": ours,
        "ours after the first batch": after_start,
        "decode": alone(contenders.decode, paths, module, scratch),
    }
    for name, (measure, arguments) in contenders.forward_passes(precision).items():
        measured[name] = alone(measure, paths, module, scratch, *arguments)
    return measured


def compare(
    name: str, image_dir: Path, module: Module, scratch: Path, rounds: int, precision: str
) -> dict[str, Any]:
    """Return one row of speeds: the best of several rounds, as other load only slows down."""
    scratch.mkdir()
    taken = [speeds(image_dir, module, scratch, precision) for _ in range(rounds)]
    best = {name: max(speed[name] for speed in taken) for name in taken[0]}
    fastest = max(best[name] for name in contenders.forward_passes(precision))
    limit = 1 / (1 / best["decode"] + 1 / fastest)
    return {
        "photos": name,
        **best,
        "limit": limit,
        "ours / retrain.py's way": best["ours"] / best["retrain.py's way"],
        "ours / limit": best["ours"] / limit,
        "after the first batch / limit": best["ours after the first batch"] / limit,
    }


def whole_run(image_dir: Path, module: Module, scratch: Path, precision: str) -> dict[str, Any]:
    """Compare a whole run, step by step, with retrain.py's way: all photos, then 4,000 steps."""
    paths = photo_paths(image_dir)
    extraction_rate = alone(contenders.retrain, paths, module, scratch / "text", False)
    classes = len({path.parent for path in paths})
    step_rate = alone(contenders.retrain_head, scratch / "text", module.features, classes)
    theirs = len(paths) / extraction_rate + RETRAIN_STEPS / step_rate
    options = ("ExportModel", "--precision", precision)
    alone(pipeline_run, image_dir, scratch / "first", *options)  # prepares the module
    ours, memory = alone(pipeline_run, image_dir, scratch / "out", *options)
    steps = {timing.step: timing.seconds for timing in timings.read(scratch / "out")}
    return {
        "photos": len(paths),
        "retrain.py's way, s": theirs,
        "ours, s": ours,
        "factor": theirs / ours,
        "peak memory, GB": memory,
        **steps,
        "start and end": ours - sum(steps.values()),
    }


def pipeline_run(
    image_dir: Path, output_dir: Path, task: str, *options: str
) -> tuple[float, float]:
    """Return the wall time, in seconds, and peak memory, in GB, of a `luigi` command."""
    command = [Path(sys.executable).parent / "luigi", "--module", "tasks", task]
    command += ["--image-dir", image_dir, "--output-dir", output_dir, *options]
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def grow(image_dir: Path, count: int, scratch: Path) -> dict[str, Any]:
    """Return one row of the table of entire runs."""
    folder = data.variations(image_dir, scratch / "photos", count)
    first, memory = alone(pipeline_run, folder, scratch / "out", "ExportModel")
    store = sum(p.stat().st_size for p in (scratch / "out").glob("bottlenecks/**/*.parquet"))
    unchanged, _ = pipeline_run(folder, scratch / "out", "ExportModel")
    with photo_paths(folder)[0].open("ab") as file:
        file.write(b"changed")
    changed, _ = pipeline_run(folder, scratch / "out", "ComputeBottlenecks")
    rest, _ = pipeline_run(folder, scratch / "out", "ExportModel")
    return {
        "photos": count,
        "first run, s": first,
        "peak memory, GB": memory,
        "bytes a photo": store / count,
        "unchanged, s": unchanged,
        "one photo changed: bottlenecks, s": changed,
        "and then the model, s": rest,
    }


def start_up(image_dir: Path, module: Module) -> dict[str, float]:
    """Return the seconds that each step takes from the start of a process to its first batch."""
    paths = photo_paths(image_dir)[:BATCH]
    steps = {
        "Python, Luigi, pandas, the tasks": lambda: subprocess.run(
            [sys.executable, "-c", "import tasks"], check=True
        ),
        "import TensorFlow": tensorflow_import.import_tensorflow,
        "load the module, and the first 32 photos": lambda: next(
            extraction.extract(paths, module, engines.resolve_precision("auto"))
        ),
    }
    seconds = {}
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - start
    return seconds


def processor() -> str:
    """Return the number of cores, and the processor's flags that decide about speed."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    return f"{os.cpu_count()} cores, {' '.join(f for f in _FLAGS if f in flags) or 'unknown'}"


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a Markdown table."""
    print("\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        cells = [f"{v:,.1f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the bottleneck stage.")
    parser.add_argument("--image-dir", type=Path, help="photos (default: crops of two photographs)")
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--only-photographs", action="store_true", help="no tiny or large photos")
    parser.add_argument("--precision", default="auto", help="float32 or bfloat16")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    precision = engines.resolve_precision(arguments.precision)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        image_dir = arguments.image_dir or data.crops(scratch / "crops")
        prepared = preparation.prepare(MODULE, scratch / "modules")
        module = frozen_graph.freeze(prepared, scratch / "frozen.pb")
        module = replace(module, engine=engines.choose(module, engines.AUTO))
        print(f"Processor: {processor()}")
        sets = {"photographs": image_dir}
        if not arguments.only_photographs:
            sets["tiny (64 x 64)"] = data.tiny(scratch / "tiny")
            sets["12 megapixels"] = data.enlarged(image_dir, scratch / "large")
        rows = [
            compare(name, folder, module, scratch / f"set {name}", arguments.rounds, precision)
            for name, folder in sets.items()
        ]
        show(rows)
        whole = whole_run(image_dir, module, scratch / "whole", precision)
        show([whole])
        started = alone(start_up, image_dir, module)
        show([{"from the start": name, "s": seconds} for name, seconds in started.items()])
        runs = [grow(image_dir, count, scratch / str(count)) for count in arguments.counts]
        if runs:
            show(runs)
    arguments.results.mkdir(parents=True, exist_ok=True)
    results = {"speeds": rows, "whole run": whole, "start-up": started, "runs": runs}
    (arguments.results / "bottlenecks.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
