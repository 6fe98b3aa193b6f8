"""TFLite files for phones, in three precisions and with embedded labels."""

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
from pipeline.export import conversion, tflite_metadata
from pipeline.files.places import Place
from pipeline.modules import signatures
from pipeline.photos import inspection, split
from pipeline.pixels.decoding import InputSpec

# float32: unchanged; float16: weights only; int8: weights and layers, with float32 in- and output.
KINDS = ("float32", "float16", "int8")
NONE = "none"
LABELS = "labels.txt"  # in the ZIP archive at the end of the file
_FLOAT_LAYERS = ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]
_REPRESENTATIVE = 200  # training photos that determine the value ranges of int8 layers


def parse(text: str) -> tuple[str, ...]:
    """Parse kinds separated by commas; `none` means no file.

    Raises:
        UserError: if there is no such kind.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in (*KINDS, NONE):
            raise UserError(f"tflite is {text!r}; choose {NONE}, or any of {', '.join(KINDS)}")
    return tuple(name for name in names if name != NONE)


def write(
    directory: Path,
    kind: str,
    labels: tuple[str, ...],
    spec: InputSpec,
    image_dir: Place,
    manifest: pd.DataFrame,
) -> None:
    """Write `model-<kind>.tflite` beside a model's SavedModel, from its `pixels` signature.

    Args:
        directory: folder of the model.
        kind: one of `KINDS`.
        labels: labels of the outputs, in order.
        spec: the pixels of the input.
        image_dir: folder that the manifest's paths are relative to.
        manifest: rows of all photos; int8 uses some of the training photos.

    Raises:
        UserError: if a training photo does not exist any more, or the converter fails.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        tensorflow_import.literal_path(directory / "saved_model"),
        signature_keys=[signatures.PIXELS],
    )
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        usable = manifest[
            (manifest["split"] == split.TRAINING) & (manifest["status"] == inspection.OK)
        ]
        # A random sample that does not depend on the location of the photos.
        sample = usable.sort_values("digest").head(_REPRESENTATIVE)
        paths = [image_dir / path for path in sample["path"]]
        converter.representative_dataset = lambda: _representative(paths, spec)
    # The warnings and messages are about the converter's own code.
    with warnings.catch_warnings(), tensorflow_import.hidden_messages():
        warnings.simplefilter("ignore")
        try:
            model = _quantized(converter) if kind == "int8" else converter.convert()
        except UserError:
            raise
        except Exception as error:  # the converter raises all kinds
            raise conversion.refusal("tflite", error) from None
    model = tflite_metadata.add(model, labels, LABELS)
    (directory / f"model-{kind}.tflite").write_bytes(model + _archive(labels))


def _quantized(converter: Any) -> Any:
    """Return an int8 model in which the layers after the last mean stay in float32.

    A feature that hardly varies may have a weight a thousand times larger than those of the others,
    which int8 would then round to zero.
    """
    import tensorflow as tf

    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=_FLOAT_LAYERS)
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    return debugger.get_nondebug_quantized_model()


def _representative(paths: list[Place], spec: InputSpec) -> Iterator[tuple[str, Any]]:
    for batch in extraction.decode(paths, spec):
        for pixels in batch.pixels[: len(batch.indices)]:
            yield signatures.PIXELS, {"image": pixels[None]}


def _archive(labels: tuple[str, ...]) -> bytes:
    """Return a ZIP archive with the labels, which readers expect at the end of the file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        # With a fixed time, for reproducible bytes.
        archive.writestr(zipfile.ZipInfo(LABELS), "\n".join(labels) + "\n")
    return content.getvalue()
