"""Keras files: a user's own model, cut where its feature maps have become one vector.

Keras's safe mode stays on, so that loading a file never runs code from it.
"""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.modules import failures, keras_export, signatures
from pipeline.modules.keras_export import Facts

SUFFIXES = (".keras", ".h5", ".hdf5")  # of any other name, the content decides
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"  # how such files begin

_ENDS = {signatures.UNIT: (0, 1), signatures.SIGNED: (-1, 1), signatures.BYTE: (0, 255)}
# Layers that leave the pixel range as it is; those called Random do nothing but in training.
_KEEPING = ("InputLayer", "Resizing", "CenterCrop", "Cropping2D")
_CHOICES = 6  # layers that a message lists


@dataclass(frozen=True)
class _Step:
    """A layer or operation of a model, as it is applied.

    Attributes:
        layer: the layer.
        inputs: the tensors that it takes.
        output: what it returns.
    """

    layer: Any
    inputs: list[Any]
    output: Any


def is_handle(handle: str) -> bool:
    """Return whether a handle is the path of a Keras file, which may not exist."""
    path = Path(handle).expanduser()
    if "://" in handle or path.is_dir():
        return False
    return handle.lower().endswith(SUFFIXES) or _suffix(path) != ""


def files(handle: str) -> list[Path]:
    """Return the file of a handle.

    Raises:
        UserError: if it does not exist.
    """
    path = Path(handle).expanduser()
    if not path.is_file():
        raise UserError(f"tfhub_module: there is no file {handle}; check the path")
    return [path]


def _suffix(path: Path) -> str:
    """Return the suffix that Keras expects of a file with this content, whatever it is called."""
    if not path.is_file():
        return ""
    with path.open("rb") as content:
        start = content.read(len(_HDF5))
    if start == _HDF5:
        return ".h5"
    if start.startswith(_ZIP):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return ".keras" if {"config.json", "metadata.json"} <= set(archive.namelist()) else ""
    return ""


def resolve(handle: str, module_dir: Path, module_output: str, again: bool) -> Path:
    """Return the SavedModel folder of a Keras file, exporting it if need be.

    Args:
        handle: path of the file.
        module_dir: folder for exported modules.
        module_output: layer whose output is used; empty: the last pooled or flattened one.
        again: replace what was exported before.

    Raises:
        UserError: if the file does not exist, cannot be loaded safely, or there is no such layer.
    """
    (path,) = files(handle)
    content = keras_export.file_digest(path)
    key = keras_export.digest(content, module_output)[: naming.DIGEST_LENGTH]

    def build() -> tuple[Any, Facts]:
        model = _in_float32(_load(path))
        digest = keras_export.digest(content)
        return _cut(model, path, module_output), Facts(digest, _image_range(model))

    return keras_export.resolve(module_dir / f"{naming.slug(path.stem)}-{key}", build, again)


def _load(path: Path) -> Any:
    config = _config(path)
    for layer in _lambdas(config):
        raise UserError(
            f"tfhub_module: {path} contains the Lambda layer {layer!r}, which is code, and code "
            "from files is never run. Replace it by a standard layer such as Rescaling; or, if you "
            "trust the file, export it with keras.models.load_model(file, safe_mode=False)"
            ".export(folder), and pass that folder"
        )
    keras = keras_export.import_keras()
    suffix = _suffix(path) or path.suffix.lower()
    try:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder, f"model{suffix}")  # Keras judges a file by its name
            link.symlink_to(path.absolute())
            return keras.models.load_model(link, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds of exceptions
        unknown = re.search(r"Unknown layer: '(\w+)'", str(error))
        if suffix == ".h5" and unknown and _is_operation(unknown[1]):
            raise UserError(
                f"tfhub_module: {path} contains the operation {unknown[1]}, which files of the "
                "format .h5 do not restore; save the model as .keras, or export it with "
                "model.export(folder) where it was saved, and pass that folder"
            ) from None
        raise UserError(
            f"tfhub_module: {path} cannot be loaded ({_reason(error)}); if it contains layers of "
            "your own, export it with model.export(folder) where their code is, and pass that "
            "folder"
        ) from None


def _is_operation(class_name: str) -> bool:
    """Return whether a class is that of an operation, in Keras 3 or 2, and not of a layer."""
    function = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()
    return hasattr(keras_export.import_keras().ops, function) or class_name.endswith("OpLambda")


def _in_float32(model: Any) -> Any:
    """Let the layers of a model that was trained in mixed precision compute in float32.

    TFLite and ONNX lack many operations in bfloat16 and float16. The weights are float32 anyway.
    """
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("bfloat16", "float16"):
            layer.dtype_policy = "float32"
    return model


def _reason(error: Exception) -> str:
    """Return the first line of the innermost exception, which Keras quotes in its message."""
    innermost = str(error).rpartition("Exception encountered: ")[2].strip()
    return innermost.splitlines()[0][:200] if innermost else type(error).__name__


def _config(path: Path) -> Any:
    """Return the description of a model's layers."""
    import h5py

    try:
        if _suffix(path) == ".keras":
            with zipfile.ZipFile(path) as archive:
                return json.loads(archive.read("config.json"))
        with h5py.File(path) as file:
            config = file.attrs.get("model_config")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        raise UserError(
            f"tfhub_module: {path} is not a Keras file, or is damaged; save the model again with "
            "model.save(file)"
        ) from None
    if config is None:
        raise UserError(
            f"tfhub_module: {path} contains weights, but no model; save the model with "
            "model.save(file), or pass the weights of a Keras application as keras:NAME@FILE"
        )
    return json.loads(config)


def _lambdas(config: Any) -> Iterator[str]:
    """Yield the names of the Lambda layers in a model's description."""
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            yield str((config.get("config") or {}).get("name"))
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _lambdas(part)


def _cut(model: Any, path: Path, module_output: str) -> Any:
    """Return the model up to a layer, with its output named after the layer."""
    keras = keras_export.import_keras()
    inputs, steps = _steps(model, path)
    if len(inputs) > 1:
        raise UserError(
            f"tfhub_module: {path} takes several inputs; save a model with the photos as its only "
            "input"
        )
    by_name = {step.layer.name: step for step in steps}
    if module_output and module_output not in by_name:
        raise UserError(f"tfhub_module: {path} has no layer {module_output!r}; {_choice(steps)}")
    step = by_name[module_output] if module_output else _pooled(steps, path)
    return keras.Model(inputs[0], {step.layer.name: step.output})


def _steps(model: Any, path: Path) -> tuple[list[Any], list[_Step]]:
    """Apply a model's layers to new inputs, and return these and each step."""
    keras = keras_export.import_keras()
    steps: list[_Step] = []

    def call(layer: Any, *arguments: Any, **named: Any) -> Any:
        output = layer(*arguments, **named)
        tensors = keras.tree.flatten((arguments, named))
        taken = [tensor for tensor in tensors if keras.backend.is_keras_tensor(tensor)]
        steps.append(_Step(layer, taken, output))
        return output

    try:
        if isinstance(model, keras.Sequential):
            tensor = keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)
            inputs = [tensor]
            for layer in model.layers:
                tensor = call(layer, tensor)
        else:
            clone = keras.models.clone_model(
                model, clone_function=lambda layer: layer, call_function=call
            )
            inputs = clone.inputs
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"tfhub_module: {path} is a model whose layers cannot be separated "
            f"({failures.reason(error)}); save a functional or a built Sequential model, or "
            "export it without its classifier by model.export(folder), and pass that folder"
        ) from None
    return inputs, steps


def _pooled(steps: list[_Step], path: Path) -> _Step:
    """Return the step that turns feature maps into one vector.

    Networks also pool in between, for example to weigh channels. What is wanted comes after the
    last feature map.
    """
    maps = [number for number, step in enumerate(steps) if _is_map(step.output)]
    after = steps[maps[-1] + 1 :] if maps else steps
    readers = [step for step in after if any(map(_is_map, step.inputs))]
    # Small photos end as maps of one pixel, through which further layers may follow.
    pools = [step for step in after if type(step.layer).__name__.startswith("Global")] or readers
    if not pools or sum(step in readers for step in pools) > 1:
        problem = (
            "several layers that pool or flatten" if pools else "no layer that pools or flattens"
        )
        raise UserError(
            f"tfhub_module: {path} has {problem} its feature maps into a vector; {_choice(steps)}"
        )
    chosen = pools[-1]
    if isinstance(chosen.layer, keras_export.import_keras().Model):
        _, inner = _steps(chosen.layer, path)
        if _pooled(inner, path) != inner[-1]:
            name = chosen.layer.name
            raise UserError(
                f"tfhub_module: {path} pools inside its layer {name!r}, a model with a classifier; "
                f"save that one, model.get_layer({name!r}).save(file), and pass its file"
            )
    return chosen


def _is_map(tensor: Any) -> bool:
    """Return whether a tensor has several places per photo, such as [batch, 7, 7, features]."""
    shape = getattr(tensor, "shape", ())
    return len(shape) > 2 and any(side != 1 for side in shape[1:-1])


def _choice(steps: list[_Step]) -> str:
    """Return the remedy if no layer is chosen: those that return features, a vector per photo."""
    softmax = keras_export.import_keras().activations.softmax
    names = [
        step.layer.name
        for step in steps
        if len(getattr(step.output, "shape", ())) > 1
        and not _is_map(step.output)
        and getattr(step.layer, "activation", None) != softmax
    ]
    if names:
        return f"set module_output to the layer to use, such as {', '.join(names[-_CHOICES:])}"
    return "add GlobalAveragePooling2D to the model, and save it again"


def _image_range(model: Any) -> str:
    """Return the pixel range that a model expects, or "" if it is unknown.

    It is known if the model starts with a Rescaling layer that turns exactly one range into
    another: 1/255 turns only [0, 255] into [0, 1].
    """
    for operation in _operations(model):
        kind = type(operation).__name__
        if kind == "Rescaling":
            scale, offset = operation.scale, operation.offset
            if not isinstance(scale, float | int) or not isinstance(offset, float | int):
                return ""  # one for each channel
            taken = [
                name
                for name, ends in _ENDS.items()
                if any(_is_near([end * scale + offset for end in ends], _ENDS[to]) for to in _ENDS)
            ]
            return taken[0] if len(taken) == 1 else ""
        if kind not in _KEEPING and not kind.startswith("Random"):
            break
    return ""


def _is_near(ends: list[float], of_range: tuple[int, int]) -> bool:
    """Return whether the ends of two ranges differ by at most 1% of the width."""
    low, high = of_range
    return abs(ends[0] - low) + abs(ends[1] - high) <= 0.01 * (high - low)


def _operations(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and the operations between them, in the order of application."""
    for operation in getattr(model, "operations", model.layers):
        if isinstance(operation, keras_export.import_keras().Model):
            yield from _operations(operation)
        else:
            yield operation
