"""Signatures: which function of a SavedModel turns photos into vectors, and what it takes.

TensorFlow 2 modules are callable (the reusable SavedModel interface, Keras's own format) or have a
`serving_default` signature (Keras's `export`). Modules in the TensorFlow 1 Hub format have only
signatures: `image_feature_vector`, `default`, or both.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.tensorflow_import import literal_path

CALL = ""  # the name for calling the module itself instead of a signature
UNIT, SIGNED, BYTE = "unit", "signed", "byte"
RANGES = {UNIT: "[0, 1]", SIGNED: "[-1, 1]", BYTE: "[0, 255]"}

# Signatures of an exported model, which computes probabilities; see `export.saved_model`.
PIXELS, KNOWN = "pixels", "known"

_PREFERRED = (CALL, "image_feature_vector", "default", "serving_default", "serve")
_ATTACHMENTS = "hub_module_attachments"


@dataclass(frozen=True)
class Function:
    """A way to call a module.

    Attributes:
        call: function from images to the module's unchanged output.
        batch: number of images per call; 0 if any number is accepted.
        height, width: input size in pixels; 0 if any size is accepted.
        dtype: tf.DType of the images.
    """

    call: Callable[[Any], Any]
    batch: int
    height: int
    width: int
    dtype: Any


def load(directory: Path) -> Any:
    """Load a SavedModel for inference.

    Raises:
        UserError: if the module needs tensorflow-hub, which is not installed. Otherwise, the same
            exceptions as TensorFlow.
    """
    import tensorflow as tf

    if (directory / "tfhub_module.pb").is_file():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pkg_resources, which the library imports
            try:
                import tensorflow_hub
            except ImportError:
                raise UserError(
                    "tfhub_module: modules in the TensorFlow 1 Hub format need tensorflow-hub, "
                    "which is not installed; install it with: pip install tensorflow-hub"
                ) from None

        return tensorflow_hub.load(literal_path(directory))
    tags = [list(graph.meta_info_def.tags) for graph in _proto(directory).meta_graphs]
    serving = [tag_set for tag_set in tags if "train" not in tag_set]
    # TensorFlow requires tags only if there is a choice, or an empty set of tags.
    several = len(tags) > 1 or tags == [[]]
    chosen = serving[0] if several and serving else None
    return tf.saved_model.load(literal_path(directory), tags=chosen)


def usable_names(loaded: Any) -> list[str]:
    """Return the names that `function` accepts for a module, most likely first."""
    names = [*([CALL] if callable(loaded) else []), *sorted(loaded.signatures)]
    return sorted(names, key=lambda n: _PREFERRED.index(n) if n in _PREFERRED else len(_PREFERRED))


def function(loaded: Any, name: str) -> Function | None:
    """Return a way to call a module; None if it takes anything else than a batch of photos."""
    if name == CALL:
        traced = getattr(loaded.__call__, "concrete_functions", [])
        specs = [spec for concrete in traced for spec in _images(concrete)]
        specs.sort(key=lambda spec: not spec.dtype.is_floating)
        return _function(loaded, specs[0]) if specs else None
    signature = loaded.signatures[name]
    inputs = signature.structured_input_signature[1]
    specs = list(_images(signature))
    if len(inputs) != 1 or not specs:
        return None
    (key,) = inputs
    return _function(lambda images: signature(**{key: images}), specs[0])


def _function(call: Callable[[Any], Any], spec: Any) -> Function:
    batch, height, width = (size or 0 for size in spec.shape.as_list()[:3])
    return Function(call, batch, height, width, spec.dtype)


def _images(concrete: Any) -> Iterator[Any]:
    """Yield the inputs of a function that may be a batch of photos."""
    import tensorflow as tf

    for spec in tf.nest.flatten(concrete.structured_input_signature):
        if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 4:
            is_number = spec.dtype.is_floating or spec.dtype.is_integer
            channels_first = spec.shape[1] == 3 and spec.shape[3] is None
            if is_number and spec.shape[3] in (3, None) and not channels_first:
                yield spec


def apply(function: Function, images: Any, image_range: str, output: str = "") -> Any:
    """Call a module on any number of photos.

    Args:
        function: the way to call it.
        images: float32 [batch, height, width, 3] in [0, 1].
        image_range: pixel range that the module expects, one of `RANGES`.
        output: name of the output to return; empty returns the only one or `default`.

    Returns:
        The module's output, one tensor.

    Raises:
        ValueError: if there is no such output, or no default one, among other reasons.
    """
    import tensorflow as tf

    if image_range == SIGNED:
        images = images * 2 - 1
    elif image_range == BYTE:
        images = images * 255
    if function.dtype.is_integer:
        images = tf.round(images)
    images = tf.cast(images, function.dtype)
    if function.batch in (0, images.shape[0]):
        return _select(function.call(images), output)
    # A module with a fixed batch size gets full batches, the last one padded with zeros.
    count, n = tf.shape(images)[0], function.batch
    padded = tf.pad(images, [[0, -count % n], [0, 0], [0, 0], [0, 0]])
    size = images.shape[1:]
    groups = tf.reshape(padded, [-1, n, *size])
    first = _select(function.call(tf.zeros([n, *size], function.dtype)), output)
    outputs = tf.map_fn(
        lambda group: _select(function.call(group), output),
        groups,
        fn_output_signature=tf.TensorSpec(first.shape, first.dtype),
    )
    shape = tf.concat([[-1], tf.shape(outputs)[2:]], 0)
    return tf.reshape(outputs, shape)[:count]


def _select(outputs: Any, name: str) -> Any:
    """Return one of a module's outputs."""
    named = dict(_named(outputs))
    if name in named:
        return named[name]
    if not name and (len(named) == 1 or "default" in named):
        return named.get("default", next(iter(named.values()), None))
    shapes = (f"{key} {tuple(output.shape)}" for key, output in named.items())
    missing = f"it has no output {name!r} but" if name else "it returns several outputs:"
    raise ValueError(f"{missing} {', '.join(shapes)}; set module_output to one of them")


def _named(outputs: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a module's outputs with their names: `default` for one without, `a/0` in a list `a`."""
    if isinstance(outputs, list | tuple):
        outputs = {str(number): output for number, output in enumerate(outputs)}
    elif isinstance(outputs, dict):
        outputs = {str(key): outputs[key] for key in sorted(outputs, key=str)}
    else:
        yield prefix or "default", outputs
        return
    for key, output in outputs.items():
        yield from _named(output, f"{prefix}/{key}" if prefix else key)


def unusable_reason(loaded: Any, name: str) -> str:
    """Return why `function` does not accept a name, and what to do, in terms of what it takes."""
    import tensorflow as tf

    if name == CALL:
        traced = getattr(loaded.__call__, "concrete_functions", [])
        signatures = [concrete.structured_input_signature for concrete in traced]
    else:
        signatures = [loaded.signatures[name].structured_input_signature]
    specs = [spec for spec in tf.nest.flatten(signatures) if isinstance(spec, tf.TensorSpec)]
    if not specs:
        return "it was saved without a function that takes photos; export it as a SavedModel again"
    spec = specs[0]
    shape = None if spec.shape.rank is None else spec.shape.as_list()
    if len(specs) > len(signatures):
        return "it takes several inputs; export it with the photos as its only input"
    if spec.dtype == tf.string:
        return "it takes strings; export it with pixels as its input"
    if shape and len(shape) == 4 and shape[1] == 3:
        return f"it takes {shape}, with channels first; export it with channels last"
    if shape and len(shape) == 4:
        return (
            f"it takes images of {shape[3]} channels; use a module for colour photos (3 channels)"
        )
    return f"it takes {spec.dtype.name} {shape}; use a module that takes [batch, height, width, 3]"


def stated_size(directory: Path) -> tuple[int, int]:
    """Height and width that a module in the TensorFlow 1 Hub format was trained with; 0 if unsaid.

    It says so beside its graph, in a message ImageModuleInfo in a message ModuleAttachment. Their
    definitions come with no library any more; messages that are alike on the wire read them.
    """
    from google.protobuf.any_pb2 import Any as Attachment  # a string and bytes
    from google.protobuf.duration_pb2 import Duration as Size  # two whole numbers
    from google.protobuf.wrappers_pb2 import BytesValue as Info  # a message

    for graph in _proto(directory).meta_graphs:
        if _ATTACHMENTS in graph.collection_def:
            for message in graph.collection_def[_ATTACHMENTS].bytes_list.value:
                attached = Attachment.FromString(message)
                if attached.type_url == "image_module_info":
                    size = Size.FromString(Info.FromString(attached.value).value)
                    return size.seconds, size.nanos
    return 0, 0


def _proto(directory: Path) -> Any:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel.FromString((directory / "saved_model.pb").read_bytes())
