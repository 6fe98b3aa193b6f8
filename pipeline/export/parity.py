"""Parity: whether the exported files agree with the evaluated head."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction
from pipeline.export import runtimes
from pipeline.export.runtimes import Classifier
from pipeline.files.places import Place
from pipeline.modules import engines, failures
from pipeline.pixels.decoding import InputSpec

MAX_PHOTOS = 500  # shows differences of one or two points, in two or three seconds per file
MIN_AGREEMENT = 0.98
_ALARM = 0.05  # probability below which less agreement is not chance
_AT_ONCE = 8  # photos; 32 would be a tenth faster, but take 0.25 GB more


@dataclass(frozen=True)
class Parity:
    """The answers of an exported file on test photos; shares are None without photos.

    Attributes:
        photos: number of test photos.
        top1: its accuracy.
        agreement: share of photos on which it agrees with the evaluated head.
        evaluated_top1: the head's accuracy on these photos.
    """

    photos: int
    top1: float | None
    agreement: float | None
    evaluated_top1: float | None = None


def measure(
    directory: Path,
    image_dir: Place,
    spec: InputSpec,
    tensors: tuple[str, str],
    max_photos: int = MAX_PHOTOS,
) -> dict[str, Parity]:
    """Run each exported file of a model on its test photos.

    The evaluation uses stored vectors, possibly computed in bfloat16; the exported files start from
    the photos and compute in float32.

    Args:
        directory: folder of the model, with the `predictions.parquet` of its evaluation.
        image_dir: folder that the paths in it are relative to.
        spec: the pixels of the input.
        tensors: names of the frozen graph's input and output.

    Returns:
        The results by name of the file or folder.

    Raises:
        UserError: if a photo does not exist any more, a runtime is not installed, or the module
            raises an error.
    """
    rows = pq.read_table(directory / "predictions.parquet").to_pandas()
    rows = rows.sort_values("digest").head(max_photos)  # digests are in random order
    labels = (directory / "output_labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
    classifiers = _files(directory, tensors)
    answers: dict[str, list[np.ndarray]] = {name: [] for name in classifiers}
    indices: list[np.ndarray] = []
    paths = [image_dir / path for path in rows["path"]]
    for batch in extraction.decode(paths, spec):
        if not len(batch.indices):
            continue
        pixels = batch.pixels[: len(batch.indices)]
        indices.append(batch.indices)
        files = [paths[i] for i in batch.indices]
        for name, classify in classifiers.items():
            for start in range(0, len(files), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                outputs = failures.call(classify, pixels[part], f"the exported {name}", files[part])
                answers[name].append(outputs.argmax(1))
    decoded = rows.iloc[np.concatenate(indices)] if indices else rows
    evaluated = decoded["labels"].str[0].to_numpy()
    return {
        name: _compare(np.array(labels, object)[np.concatenate(best)], decoded["label"], evaluated)
        if best
        else Parity(0, None, None)
        for name, best in answers.items()
    }


def summary_lines(results: dict[str, Parity], precision: str) -> Iterator[str]:
    """Yield a line for files that do worse than the evaluation promises, beyond chance.

    A file does if it agrees with the head on less than MIN_AGREEMENT of the photos (p < 0.05,
    one-sided binomial test) and is less accurate. Files with the same result share a line.

    Args:
        results: the results by file.
        precision: that of the forward pass of the evaluation.
    """
    names: dict[tuple[Parity, str], list[str]] = {}
    for name, result in results.items():
        if _is_worse(result):
            names.setdefault((result, _remedy(name, precision)), []).append(name)
    for (result, remedy), files in names.items():
        differ = round((1 - (result.agreement or 0)) * result.photos)
        yield (
            f"{' and '.join(files)}: another class than in the evaluation for {differ} of "
            f"{result.photos} test photos; right for {result.top1:.1%} instead of "
            f"{result.evaluated_top1:.1%}. {remedy}"
        )


def _is_worse(result: Parity) -> bool:
    from scipy.stats import binom

    if result.top1 is None or result.agreement is None or result.evaluated_top1 is None:
        return False
    agree = round(result.agreement * result.photos)
    chance = float(binom.cdf(agree, result.photos, MIN_AGREEMENT))
    return chance < _ALARM and result.top1 < result.evaluated_top1


def _remedy(name: str, precision: str) -> str:
    if "int8" in name:
        return "Expect this accuracy of the file; --tflite float16 loses less"
    if precision != engines.FLOAT32 and not name.endswith(".tflite"):
        return f"The evaluation computed in {precision}; to make them agree: --precision float32"
    return "Expect this accuracy of the file"


def _files(directory: Path, tensors: tuple[str, str]) -> dict[str, Classifier]:
    classifiers = {
        "saved_model": runtimes.saved_model(directory / "saved_model"),
        "output_graph.pb": runtimes.frozen_graph(directory / "output_graph.pb", *tensors),
    }
    classifiers |= {p.name: runtimes.tflite(p) for p in sorted(directory.glob("*.tflite"))}
    return classifiers | {p.name: runtimes.onnx(p) for p in directory.glob("*.onnx")}


def _compare(best: np.ndarray, labels: np.ndarray, evaluated: np.ndarray) -> Parity:
    shares = (best == labels, best == evaluated, evaluated == labels)
    return Parity(len(best), *(float(share.mean()) for share in shares))
