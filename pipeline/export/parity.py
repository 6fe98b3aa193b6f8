"""Whether the exported files answer as the head did that was evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction
from pipeline.export import runtimes
from pipeline.export.runtimes import Answering
from pipeline.files.places import Place

MOST_PHOTOS = 500  # enough to tell a difference of a point or two, in two or three seconds a file
LEAST_AGREEMENT = 0.98


@dataclass(frozen=True)
class Parity:
    """How one exported file answers on test photos; shares are None where there are none.

    Attributes:
        photos: test photos that it was asked about.
        top1: share of them whose class is its best answer.
        agreement: share of them for which its best answer is that of the evaluation.
    """

    photos: int
    top1: float | None
    agreement: float | None


def measure(
    directory: Path, image_dir: Place, size: tuple[int, int], tensors: tuple[str, str]
) -> dict[str, Parity]:
    """Ask each exported file in a model's folder about its test photos, `MOST_PHOTOS` at most.

    The evaluation measures the head on vectors as they were computed for training, with bfloat16
    products perhaps, and stored; the exported files compute everything anew.

    Args:
        directory: of the model, with `predictions.parquet` of its evaluation.
        image_dir: folder that the paths in it are relative to.
        size: height and width of the input, in pixels.
        tensors: names of the frozen graph's input and output.

    Returns:
        By the name of the file or folder.

    Raises:
        UserError: where a photo is no longer there, or a runtime is not installed.
    """
    rows = pq.read_table(directory / "predictions.parquet").to_pandas()
    rows = rows.sort_values("digest").head(MOST_PHOTOS)  # in the order of digests is at random
    labels = (directory / "output_labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
    answering = _files(directory, tensors)
    answers: dict[str, list[np.ndarray]] = {name: [] for name in answering}
    indices: list[np.ndarray] = []
    for part in extraction.decode([image_dir / path for path in rows["path"]], *size):
        if not len(part.indices):
            continue
        pixels = part.pixels[: len(part.indices)]
        indices.append(part.indices)
        for name, answer in answering.items():
            answers[name].append(answer(pixels).argmax(1))
    seen = rows.iloc[np.concatenate(indices)] if indices else rows
    evaluated = seen["labels"].str[0].to_numpy()
    return {
        name: _compare(np.array(labels, object)[np.concatenate(best)], seen["label"], evaluated)
        if best
        else Parity(0, None, None)
        for name, best in answers.items()
    }


def summary_lines(answers: dict[str, Parity], precision: str) -> Iterator[str]:
    """What a user should know of files that answer otherwise than was evaluated: one line each."""
    for name, answer in answers.items():
        if answer.agreement is None or answer.agreement >= LEAST_AGREEMENT:
            continue
        remedy = (
            "for the two to agree, train with --precision float32"
            if precision != extraction.FLOAT32 and not name.endswith(".tflite")
            else "do without it, or count on its own accuracy"
        )
        yield (
            f"{name} gives the answer that was evaluated for only {answer.agreement:.1%} of "
            f"{answer.photos} test photos, and is right for {answer.top1:.1%}; {remedy}"
        )


def _files(directory: Path, tensors: tuple[str, str]) -> dict[str, Answering]:
    found = {
        "saved_model": runtimes.saved_model(directory / "saved_model"),
        "output_graph.pb": runtimes.frozen_graph(directory / "output_graph.pb", *tensors),
    }
    found |= {p.name: runtimes.tflite(p) for p in sorted(directory.glob("*.tflite"))}
    return found | {p.name: runtimes.onnx(p) for p in directory.glob("*.onnx")}


def _compare(best: np.ndarray, labels: np.ndarray, evaluated: np.ndarray) -> Parity:
    return Parity(len(best), float((best == labels).mean()), float((best == evaluated).mean()))
