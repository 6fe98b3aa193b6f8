"""model.json: the inputs and outputs of an exported model, for programs."""

import hashlib
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.export.parity import Parity

FORMAT_VERSION = 1  # raise it when a field changes its meaning
NAME = "model.json"
_PACKAGES = ("tensorflow", "numpy")


def write(
    directory: Path,
    recipe: Recipe,
    labels: tuple[str, ...],
    tensors: tuple[str, str],
    results: dict[str, Parity],
) -> None:
    """Write `model.json` into the folder of a model, whose other files exist already.

    Args:
        directory: folder of the model.
        recipe: recipe of the vectors that the head was trained on.
        labels: labels of the outputs, in order.
        tensors: names of the frozen graph's input and output.
        results: parity results by file.
    """
    height, width = recipe.module.height, recipe.module.width
    pixels = {"dtype": "float32", "shape": [None, height, width, 3]}
    probabilities = {"dtype": "float32", "shape": [None, len(labels)]}
    ranked = {"classes": {"dtype": "string", "shape": [None, len(labels)]}, "scores": probabilities}
    description = {
        "format_version": FORMAT_VERSION,
        "labels": labels,
        "input": {
            "height": height,
            "width": width,
            "channels": "RGB",
            "range": [0, 1],
            "resize": "the whole photo squeezed to this size, bilinear, without antialiasing",
            "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"],
        },
        "signatures": {
            "serving_default": {
                "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
                "outputs": {**ranked, "probabilities": probabilities},
            },
            "pixels": {"inputs": {"image": pixels}, "outputs": {"prediction": probabilities}},
        },
        "frozen_graph": {
            "inputs": {tensors[0]: pixels},
            "outputs": {tensors[1]: probabilities},
        },
        "answers": {name: asdict(result) for name, result in results.items()},
        "calibration": calibration(directory),
        "recipe": recipe.facts(),
        "module": module_facts(recipe),
        "versions": versions(),
        "files": files(directory),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (directory / NAME).write_text(text + "\n", encoding="utf-8")


def read(model: Path) -> dict[str, Any]:
    """Read the `model.json` of a model.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    try:
        description: dict[str, Any] = json.loads((model / NAME).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"there is no model in {model} yet; train one first with: make train"
        ) from None
    except ValueError:
        raise UserError(
            f"{model / NAME} is damaged; delete the model's folder and train again with: make train"
        ) from None
    return description


def parity_results(model: Path) -> dict[str, Parity]:
    """Return the parity results of a model, by file."""
    return {name: Parity(**result) for name, result in read(model)["answers"].items()}


def calibration(directory: Path) -> dict[str, Any] | None:
    """Return the content of `calibration.json`, or None if there is none."""
    path = directory / "calibration.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def module_facts(recipe: Recipe) -> dict[str, Any]:
    """Return the description of the module without its local path."""
    return {name: value for name, value in asdict(recipe.module).items() if name != "directory"}


def versions() -> dict[str, str]:
    """Return the versions of Python and key packages at export."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def files(directory: Path) -> dict[str, dict[str, object]]:
    """Return the size in bytes and the SHA-256 of each file of a model, by relative path."""
    facts = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(directory).as_posix()
        facts[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return facts
