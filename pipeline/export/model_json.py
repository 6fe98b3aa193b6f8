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
from pipeline.modules import signatures
from pipeline.pixels.decoding import WHITE, InputSpec

FORMAT_VERSION = 2  # raise it when a field changes its meaning
NAME = "model.json"
_PACKAGES = ("tensorflow", "numpy")
# How to make pixels like those that the model was trained on, for callers of `pixels`, the frozen
# graph, TFLite and ONNX. `serving_default` does all of this.
PREPROCESSING = {
    "formats": ["JPEG", "PNG", "GIF", "BMP", "WebP"],
    "steps": [
        "Decode to 8 bits per channel. Take the first frame of an animation and the high byte of "
        "16-bit channels; convert grey, palettes and CMYK to RGB.",
        "A JPEG: let n be the largest of 1, 2, 4 and 8 for which n times the longer side of the "
        "input is at most the shorter side of the photo, or else 1. Decode it at 1/n of its size "
        "in the frequency domain, as libjpeg does with scale_num = 1 and scale_denom = n.",
        "Composite transparent pixels on the grey level in background: (colour * alpha + "
        "background * (255 - alpha) + 127) // 255.",
        "If exif_orientation is true, turn and mirror the photo as the Exif orientation says.",
        "Resize the entire photo to the input size, bilinearly, with half-pixel centres and "
        "without antialiasing, not keeping the aspect ratio.",
        "Divide by 255.",
    ],
}


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
    known = known_facts(directory)
    answers = len(labels) - bool(known and known["other_class"])
    ranked = {
        "classes": {"dtype": "string", "shape": [None, answers]},
        "scores": {"dtype": "float32", "shape": [None, answers]},
    }
    familiar = {"known": {"dtype": "float32", "shape": [None]}}
    description = {
        "format_version": FORMAT_VERSION,
        "labels": labels,
        "input": {
            "height": height,
            "width": width,
            "channels": "RGB",
            "range": [0, 1],
            **PREPROCESSING,
            "exif_orientation": recipe.module.exif_orientation,
            "background": recipe.module.background,
        },
        "signatures": {
            "serving_default": {
                "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
                "outputs": {**ranked, "probabilities": probabilities, **familiar},
            },
            signatures.PIXELS: {
                "inputs": {"image": pixels},
                "outputs": {"prediction": probabilities},
            },
            signatures.KNOWN: {
                "inputs": {"image": pixels},
                "outputs": {"prediction": probabilities, **familiar},
            },
        },
        "frozen_graph": {
            "inputs": {tensors[0]: pixels},
            "outputs": {tensors[1]: probabilities},
        },
        "answers": {name: asdict(result) for name, result in results.items()},
        "calibration": calibration(directory),
        "known": known,
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


def input_spec(description: dict[str, Any]) -> InputSpec:
    """Return how the model of a `model.json` decodes photos."""
    facts = description["input"]
    # Models from before these options saw photos as they are stored.
    turned, background = facts.get("exif_orientation", False), facts.get("background", WHITE)
    return InputSpec(facts["height"], facts["width"], turned, background)


def parity_results(model: Path) -> dict[str, Parity]:
    """Return the parity results of a model, by file."""
    return {name: Parity(**result) for name, result in read(model)["answers"].items()}


def calibration(directory: Path) -> dict[str, Any] | None:
    """Return the content of `calibration.json`, or None if there is none."""
    path = directory / "calibration.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def known_facts(directory: Path) -> dict[str, Any] | None:
    """Return how to read `known`, from `evaluation.json`; None for a head without familiarity.

    A photo is unknown if its `known` is at most `unknown_rate`. `lowest` is the lowest possible
    value, which depends on the number of validation photos.
    """
    path = directory / "evaluation.json"
    unknown = json.loads(path.read_text(encoding="utf-8")).get("unknown") if path.exists() else None
    names = ("unknown_rate", "lowest", "other_class", "passed", "unknown_count")
    return unknown and {name: unknown[name] for name in names}


def module_facts(recipe: Recipe) -> dict[str, Any]:
    """Return the description of the module without its local paths."""
    facts = asdict(recipe.module)
    return {name: value for name, value in facts.items() if name not in ("directory", "frozen")}


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
