"""Size, accuracy and speed of each exported file: `make bench-export`.

Runs the pipeline on the photos of --image-dir (default: generated ones), exports without and with
all optional files, each in a new process, and classifies one photo and batches of 32 photos with
each file.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import data
from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.export import model_json, runtimes
from pipeline.export.parity import Parity
from pipeline.export.runtimes import Classifier
from pipeline.photos import discovery
from pipeline.prediction import single

BATCH = 32
SECONDS = 5.0  # per measurement
ALL = ("--tflite", "float32,float16,int8", "--onnx")


def run(task: str, image_dir: Path, out: Path, *more: str) -> float:
    """Run the pipeline up to a task, in a new process; return the seconds of that task."""
    luigi = str(Path(sys.executable).with_name("luigi"))
    options = ["--image-dir", str(image_dir), "--output-dir", str(out), *more]
    command = [luigi, "--module", "tasks", task, *options]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.findall(rf"{task} took ([\d.]+) s", log)
    return float(found[-1])


def milliseconds(call: Callable[[], object]) -> float:
    """Return the median time of a call, in milliseconds, after a few calls of warm-up."""
    for _ in range(3):
        call()
    times, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def bytes_in(directory: Path) -> Callable[[list[bytes]], Any]:
    """Load the SavedModel's signature for encoded images, which decodes them too."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(str(directory))
    signature = loaded.signatures["serving_default"]
    return lambda files, _kept=loaded: signature(image_bytes=tf.constant(files))


def size(path: Path) -> float:
    """Return the size of a file or folder, in MB."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files) / 1e6


def load(model: Path, name: str) -> Classifier:
    """Load a file with the runtime it is made for."""
    path = model / name
    if name == "saved_model":
        return runtimes.saved_model(path)
    if name == "output_graph.pb":
        (input_name,), (output_name,) = (
            model_json.read(model)["frozen_graph"][k] for k in ("inputs", "outputs")
        )
        return runtimes.frozen_graph(path, input_name, output_name)
    return runtimes.tflite(path) if name.endswith(".tflite") else runtimes.onnx(path)


def line(name: str, megabytes: float, answer: Parity, *times: float) -> str:
    shares = [f"{s:.1%}" if s is not None else "-" for s in (answer.top1, answer.agreement)]
    latencies = " | ".join(f"{t:.1f}" for t in times)
    return f"| {name} | {megabytes:.1f} | {' | '.join(shares)} | {latencies} |"


def cold(model: Path, photo: Path) -> float:
    """Return the seconds of `make predict`, including Python's start; best of three."""
    command = [
        sys.executable,
        "-m",
        "pipeline.prediction.single",
        "--model",
        str(model),
        str(photo),
    ]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print a table of the files, and the times of the export and a prediction."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-dir", type=Path, help="folder with one folder per class")
    with tempfile.TemporaryDirectory() as scratch:
        image_dir = parser.parse_args().image_dir or data.crops(Path(scratch) / "photos")
        out = Path(scratch) / "out"
        run("EvaluateModel", image_dir, out)
        plain = run("ExportModel", image_dir, out)
        everything = run("ExportModel", image_dir, out, *ALL)
        model = (out / "current").resolve()
        some = [Path(found.path) for found in discovery.list_folder(image_dir)][:BATCH]
        spec = model_json.input_spec(model_json.read(model))
        (part, *_) = extraction.decode(some, spec)
        answers = model_json.parity_results(model)
        print("| file | MB | top-1 | parity | 1 photo, ms | 32 photos, ms |")
        print("|---|---|---|---|---|---|")
        signature, files = bytes_in(model / "saved_model"), [path.read_bytes() for path in some]
        print(
            line(
                "saved_model, from files",
                size(model / "saved_model"),
                answers["saved_model"],
                milliseconds(lambda: signature(files[:1])),
                milliseconds(lambda: signature(files)),
            )
        )
        for name, answer in answers.items():
            ask, pixels = load(model, name), part.pixels.numpy()
            one = milliseconds(lambda ask=ask, pixels=pixels: ask(pixels[:1]))
            many = milliseconds(lambda ask=ask, pixels=pixels: ask(pixels))
            print(line(name, size(model / name), answer, one, many))
        count = answers["saved_model"].photos
        print(f"\nAccuracy on {count} test photos; only the first line includes decoding.")
        print(f"Export: {plain:.1f} s; with TFLite and ONNX {everything:.1f} s.")
        classify = single.load(model)
        print(f"One photo: {cold(model, some[0]):.1f} s from a cold start, then", end=" ")
        print(f"{milliseconds(lambda: classify(files[0])):.0f} ms.")


if __name__ == "__main__":
    main()
