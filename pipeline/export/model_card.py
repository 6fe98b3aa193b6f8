"""The model card: what a model is, how good it is and what it is not for, for people."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.bottlenecks.recipe import Recipe
from pipeline.export import model_json
from pipeline.export.parity import Parity
from pipeline.photos.manifest import Summary

LIMITS = (
    "It knows the classes listed here and no others: whatever is on a photo, it names one of them.",
    "It looks at one whole photo, squeezed to a square or to the module's input, and ignores EXIF "
    "orientation: a photo must stand upright.",
    "The figures hold for photos like those it was tested on. On others (another camera, light or "
    "background) they must be measured anew.",
    "Classes with few test photos have figures to match: a share of 5 photos moves in steps of "
    "20 %.",
    "It must not be the only ground for a decision about people.",
)


def write(directory: Path, recipe: Recipe, summary: Summary, answers: dict[str, Parity]) -> None:
    """Write `model_card.json` and `model_card.md` beside a model's other files.

    Args:
        directory: of the model, with `evaluation.json` and perhaps `calibration.json`.
        recipe: how the vectors were made that the head was trained on.
        summary: of the manifest.
        answers: how each file answers.
    """
    evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    figures = {row["label"]: row for row in evaluation["classes"]}
    module = model_json.module_facts(recipe)
    card = {
        "exported": datetime.now(UTC).date().isoformat(),
        "description": f"Tells {len(figures)} classes of photos apart: a softmax layer, trained on "
        f"feature vectors of the module {module['handle']}.",
        "module": module,
        "recipe": recipe.facts(),
        "data": {
            "training": sum(c.training for c in summary.classes),
            "validation": sum(c.validation for c in summary.classes),
            "testing": sum(c.testing for c in summary.classes),
            "classes": {
                c.label: {
                    "training": c.training,
                    "validation": c.validation,
                    "testing": c.testing,
                    "precision": figures[c.label]["precision"],
                    "recall": figures[c.label]["recall"],
                }
                for c in summary.classes
                if c.label in figures
            },
        },
        "accuracy": {name: evaluation[name] for name in ("count", "top1", "top5")},
        "answers": {name: asdict(answer) for name, answer in answers.items()},
        "calibration": model_json.calibration(directory),
        "limits": LIMITS,
        "versions": model_json.versions(),
        "files": model_json.files(directory),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (directory / "model_card.json").write_text(text + "\n", encoding="utf-8")
    (directory / "model_card.md").write_text(markdown(card), encoding="utf-8")


def markdown(card: dict[str, Any]) -> str:
    """The card as a person reads it, from what `model_card.json` holds."""
    module, data, accuracy = card["module"], card["data"], card["accuracy"]
    measured = (
        f"Top-1 {_percent(accuracy['top1'])}, top-5 {_percent(accuracy['top5'])} of "
        f"{accuracy['count']:,} test photos, which it had not seen in training."
        if accuracy["count"]
        else "There was no test photo, so nothing is known of its accuracy."
    )
    sections = [
        "# Model card",
        f"{card['description']} Exported on {card['exported']}.",
        "## Accuracy",
        measured,
        "The files were asked about the same test photos:",
        _table(
            ["file", "photos", "top-1", "answers as evaluated"],
            [
                [name, f"{a['photos']:,}", _percent(a["top1"]), _percent(a["agreement"])]
                for name, a in card["answers"].items()
            ],
        ),
        *_calibration(card["calibration"]),
        "## Classes",
        "Precision is the share of the test photos said to be of a class that are; recall the "
        "share of its test photos that were found.",
        _table(
            ["class", "precision", "recall", "training", "validation", "test"],
            [
                [
                    label,
                    _percent(c["precision"]),
                    _percent(c["recall"]),
                    *(f"{c[part]:,}" for part in ("training", "validation", "testing")),
                ]
                for label, c in data["classes"].items()
            ],
        ),
        "## Data",
        f"{data['training']:,} photos for training, {data['validation']:,} for validation, "
        f"{data['testing']:,} for testing.",
        "## Limits",
        "\n".join(f"- {limit}" for limit in card["limits"]),
        "## Module",
        f"{module['handle']}, licence: {module['licence'] or 'not known'}. It takes "
        f"{module['height']} x {module['width']} pixels and gives {module['features']:,} features. "
        f"SHA-256 of its content: `{module['digest']}`.",
        f"Feature vectors for training were computed in {card['recipe']['precision']} and stored "
        f"as {card['recipe']['vector_type']}. Exported with "
        + ", ".join(f"{name} {number}" for name, number in card["versions"].items())
        + ".",
        "## Files",
        _table(
            ["file", "bytes", "SHA-256"],
            [[name, f"{f['bytes']:,}", f"`{f['sha256']}`"] for name, f in card["files"].items()],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _calibration(calibration: dict[str, Any] | None) -> list[str]:
    if not calibration:
        return []
    error = calibration["expected_calibration_error"]
    temperature = calibration["temperature"]
    lines = ["## Thresholds"]
    if temperature is not None:
        lines.append(
            f"Probabilities are calibrated on {calibration['validation']:,} validation photos "
            f"(temperature {temperature:.3g}): expected calibration error "
            f"{_percent(error['before'])} before, {_percent(error['after'])} after."
        )
    rows = [
        [
            _percent(t["precision"]),
            "none reaches it" if t["threshold"] is None else f"{t['threshold']:.3f}",
            _percent(t["coverage"]),
        ]
        for t in calibration["thresholds"]
    ]
    lines.append("Answers at or above the score in the middle are right as often as it says:")
    return [*lines, _table(["right", "score", "share of photos"], rows)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Text that cannot end its cell: labels are whatever folders are called."""
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
