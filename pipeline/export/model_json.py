"""`model.json`: what an exported model takes and gives, for programs."""

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
    measured: dict[str, Parity],
) -> None:
    """Describe the model in `directory`, of which all other files are there.

    Args:
        directory: the model's.
        recipe: how the vectors were made that the head was trained on.
        labels: of the outputs, in order.
        tensors: names of the frozen graph's input and output.
        measured: how each file answers.
    """
    height, width = recipe.module.height, recipe.module.width
    pixels = {"dtype": "float32", "shape": [None, height, width, 3]}
    probabilities = {"dtype": "float32", "shape": [None, len(labels)]}
    ranked = {"classes": {"dtype": "string", "shape": [None, len(labels)]}, "scores": probabilities}
    described = {
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
        "answers": {name: asdict(answer) for name, answer in measured.items()},
        "calibration": calibration(directory),
        "recipe": recipe.facts(),
        "module": module_facts(recipe),
        "versions": versions(),
        "files": files(directory),
    }
    text = json.dumps(described, indent=2, ensure_ascii=False)
    (directory / NAME).write_text(text + "\n", encoding="utf-8")


def read(model: Path) -> dict[str, Any]:
    """Read what `write` wrote into a model's folder.

    Raises:
        UserError: where there is none.
    """
    try:
        described: dict[str, Any] = json.loads((model / NAME).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"there is no model in {model} yet; train one first with: make train"
        ) from None
    except ValueError:
        raise UserError(
            f"{model / NAME} is damaged; delete the model's folder and train again with: make train"
        ) from None
    return described


def parity_results(model: Path) -> dict[str, Parity]:
    """How each file of a model answers."""
    return {name: Parity(**answer) for name, answer in read(model)["answers"].items()}


def calibration(directory: Path) -> dict[str, Any] | None:
    """How far the probabilities can be trusted, and from where on, if that was measured."""
    path = directory / "calibration.json"
    measured: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return measured


def module_facts(recipe: Recipe) -> dict[str, Any]:
    """What is known of the module, but where it lay on the machine that trained."""
    return {name: value for name, value in asdict(recipe.module).items() if name != "directory"}


def versions() -> dict[str, str]:
    """Of what the model was exported with."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def files(directory: Path) -> dict[str, dict[str, object]]:
    """Size in bytes and SHA-256 of each of a model's files, by its path in the folder."""
    found = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(directory).as_posix()
        found[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
