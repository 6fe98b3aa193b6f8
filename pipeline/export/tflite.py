"""The model for phones: TFLite files, in three precisions, with the labels inside."""

import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.export import tflite_metadata
from pipeline.files.places import Place
from pipeline.photos import inspection, split

# Weights as they are; weights as float16; weights and layers as int8, input and output float32.
KINDS = ("float32", "float16", "int8")
NONE = "none"
LABELS = "labels.txt"  # in the ZIP archive at the file's end
_FLOAT_LAYERS = ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]
_REPRESENTATIVE = 200  # training photos that show int8 how large the layers' values get


def parse(text: str) -> tuple[str, ...]:
    """The kinds named in an option's value, with commas between; `none` names none.

    Raises:
        UserError: for any other name.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in (*KINDS, NONE):
            raise UserError(f"tflite is {text!r}; it can be {NONE}, or of {', '.join(KINDS)}")
    return tuple(name for name in names if name != NONE)


def write(
    directory: Path,
    kind: str,
    labels: tuple[str, ...],
    size: tuple[int, int],
    image_dir: Place,
    manifest: pd.DataFrame,
) -> None:
    """Write `model-<kind>.tflite` beside a model's SavedModel, from its `pixels` signature.

    Args:
        directory: of the model.
        kind: one of `KINDS`.
        labels: of the outputs, in order.
        size: height and width of the input, in pixels.
        image_dir: folder that the manifest's paths are relative to.
        manifest: rows of all photos; int8 takes some of the training ones.

    Raises:
        UserError: where a training photo is no longer there.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(directory / "saved_model"), signature_keys=["pixels"]
    )
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        usable = manifest[
            (manifest["split"] == split.TRAINING) & (manifest["status"] == inspection.OK)
        ]
        # The order of digests is at random, and the same wherever the photos lie.
        some = usable.sort_values("digest").head(_REPRESENTATIVE)
        paths = [image_dir / path for path in some["path"]]
        converter.representative_dataset = lambda: _representative(paths, size)
    with warnings.catch_warnings():  # of the converter's own doings
        warnings.simplefilter("ignore")
        model = _quantized(converter) if kind == "int8" else converter.convert()
    model = tflite_metadata.add(model, labels, LABELS)
    (directory / f"model-{kind}.tflite").write_bytes(model + _archive(labels))


def _quantized(converter: Any) -> Any:
    """An int8 model, but for the layers from the last mean on.

    A head may give a feature that hardly ever varied a weight a thousand times as large as the
    others, which would all be rounded to nothing beside it.
    """
    import tensorflow as tf

    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=_FLOAT_LAYERS)
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    return debugger.get_nondebug_quantized_model()


def _representative(paths: list[Place], size: tuple[int, int]) -> Iterator[tuple[str, Any]]:
    for part in extraction.decode(paths, *size):
        for pixels in part.pixels[: len(part.indices)]:
            yield "pixels", {"image": pixels[None]}


def _archive(labels: tuple[str, ...]) -> bytes:
    """A ZIP archive with the labels: readers look for one at the end of the file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        # A fixed time, so that equal labels give equal bytes.
        archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(labels) + "\n")
    return content.getvalue()
