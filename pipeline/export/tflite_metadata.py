"""TFLite metadata: a description of the input and output inside the file, for apps.

Fields have the numbers of TensorFlow Lite's metadata_schema.fbs: no package that writes them works
with current versions of Python and protobuf.
"""

from collections.abc import Callable
from typing import Any

_IDENTIFIER = b"M001"  # of this schema
_NAME = "TFLITE_METADATA"  # name under which readers find it
_MIN_PARSER = "1.0.0"
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_RGB = 1  # ColorSpaceType.RGB
_FEATURE, _IMAGE = 1, 2  # ContentProperties: FeatureProperties, ImageProperties
_NORMALIZATION = 1  # ProcessUnitOptions.NormalizationOptions

Field = Callable[[], None]  # writes one field of the current table


def add(model: bytes, labels: tuple[str, ...], labels_file: str) -> bytes:
    """Add metadata to a TFLite model.

    Args:
        model: bytes of the model from the converter.
        labels: labels of the outputs, in order.
        labels_file: name of the labels file in the archive that will follow the model.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    parsed = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    buffer = schema.BufferT()
    buffer.data = describe(len(labels), labels_file)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def describe(classes: int, labels_file: str) -> bytes:
    """Return the metadata: a flatbuffer of the table ModelMetadata."""
    import flatbuffers

    b = flatbuffers.Builder(1024)
    # Nested tables are written from the inside out.
    to_unit = _table(b, _floats(b, 0, [0.0]), _floats(b, 1, [255.0]))  # mean, std of 0..255
    unit = _table(b, _byte(b, 0, _NORMALIZATION), _reference(b, 1, to_unit))
    colours = _table(b, _byte(b, 0, _RGB))
    photo = _table(b, _byte(b, 0, _IMAGE), _reference(b, 1, colours))
    image = _table(
        b,
        _text(b, 0, "image"),
        _text(b, 1, "The entire photo, resized to the input size, RGB from 0 to 1."),
        _reference(b, 3, photo),
        _references(b, 4, [unit]),
        _reference(b, 5, _table(b, _floats(b, 0, [1.0]), _floats(b, 1, [0.0]))),  # max, min
    )
    file = _table(
        b,
        _text(b, 0, labels_file),
        _text(b, 1, "One label per line, in the order of the outputs."),
        _byte(b, 2, _AXIS_LABELS),
    )
    feature = _table(b, _byte(b, 0, _FEATURE), _reference(b, 1, _table(b)))
    prediction = _table(
        b,
        _text(b, 0, "prediction"),
        _text(b, 1, f"Probabilities of the {classes} classes."),
        _reference(b, 3, feature),
        _reference(b, 5, _table(b, _floats(b, 0, [1.0]), _floats(b, 1, [0.0]))),
        _references(b, 6, [file]),
    )
    graph = _table(b, _references(b, 2, [image]), _references(b, 3, [prediction]))
    model = _table(
        b,
        _text(b, 0, "image classifier"),
        _text(b, 1, f"Classifies photos into {classes} classes."),
        _references(b, 3, [graph]),
        _text(b, 7, _MIN_PARSER),
    )
    b.Finish(model, file_identifier=_IDENTIFIER)
    return bytes(b.Output())


def _table(b: Any, *fields: Field) -> int:
    """Write a table whose texts, vectors and nested tables are in the buffer already."""
    b.StartObject(8)  # maximum number of fields of the tables here
    for field in fields:
        field()
    return int(b.EndObject())


def _text(b: Any, number: int, text: str) -> Field:
    return _reference(b, number, b.CreateString(text))


def _byte(b: Any, number: int, value: int) -> Field:
    return lambda: b.PrependInt8Slot(number, value, 0)


def _floats(b: Any, number: int, values: list[float]) -> Field:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return _reference(b, number, b.EndVector())


def _references(b: Any, number: int, offsets: list[int]) -> Field:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return _reference(b, number, b.EndVector())


def _reference(b: Any, number: int, offset: int) -> Field:
    return lambda: b.PrependUOffsetTRelativeSlot(number, offset, 0)
