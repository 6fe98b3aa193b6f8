"""The model card: what a model is, how accurate it is, and its limits, for people."""

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
    "It knows only the classes listed here: it assigns one of them to any photo. `known` tells how "
    "well a photo fits them.",
    "It resizes the entire photo to the module's input, without keeping the aspect ratio.",
    "Programs that pass pixels instead of files must prepare them as model.json says, in the steps "
    "of the input.",
    "The metrics apply only to photos similar to the test photos. For others (different camera, "
    "light or background), measure them again.",
    "The metrics of classes with few test photos are uncertain: with 5 photos, a share changes in "
    "steps of 20%.",
    "It must not be the only basis for decisions about people.",
)


def write(directory: Path, recipe: Recipe, summary: Summary, results: dict[str, Parity]) -> None:
    """Write `model_card.json` and `model_card.md` beside a model's other files.

    Args:
        directory: folder of the model, with `evaluation.json` and possibly `calibration.json`.
        recipe: recipe of the vectors that the head was trained on.
        summary: summary of the manifest.
        results: parity results by file.
    """
    evaluation = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    metrics = {row["label"]: row for row in evaluation["classes"]}
    module = model_json.module_facts(recipe)
    card = {
        "exported": datetime.now(UTC).date().isoformat(),
        "description": f"Classifies photos into {len(metrics)} classes: a softmax layer on "
        f"feature vectors of the module {module['handle']}.",
        "module": module,
        "fine_tuning": evaluation.get("run", {}).get("fine_tuning"),
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
                    "precision": metrics[c.label]["precision"],
                    "recall": metrics[c.label]["recall"],
                }
                for c in summary.classes
                if c.label in metrics
            },
        },
        "accuracy": {name: evaluation[name] for name in ("count", "top1", "top5")},
        "answers": {name: asdict(result) for name, result in results.items()},
        "calibration": model_json.calibration(directory),
        "known": model_json.known_facts(directory),
        "limits": LIMITS,
        "versions": model_json.versions(),
        "files": model_json.files(directory),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False)
    (directory / "model_card.json").write_text(text + "\n", encoding="utf-8")
    (directory / "model_card.md").write_text(markdown(card), encoding="utf-8")


def markdown(card: dict[str, Any]) -> str:
    """Return the card as Markdown, from the content of `model_card.json`."""
    module, data, accuracy = card["module"], card["data"], card["accuracy"]
    accuracy_text = (
        f"Top-1 {_percent(accuracy['top1'])}, top-5 {_percent(accuracy['top5'])} of "
        f"{accuracy['count']:,} test photos, which were not used in training."
        if accuracy["count"]
        else "There were no test photos, so its accuracy is unknown."
    )
    sections = [
        "# Model card",
        f"{card['description']} Exported on {card['exported']}.",
        "## Accuracy",
        accuracy_text,
        "Accuracy of the exported files on these test photos:",
        _table(
            ["file", "photos", "top-1", "parity"],
            [
                [name, f"{a['photos']:,}", _percent(a["top1"]), _percent(a["agreement"])]
                for name, a in card["answers"].items()
            ],
        ),
        *_calibration(card["calibration"]),
        *_known(card["known"]),
        "## Classes",
        "Precision is the share of the test photos predicted as a class that belong to it; recall "
        "is the share of the test photos of a class that are predicted as such.",
        _table(
            ["class", "precision", "recall", "training", "validation", "test"],
            [
                [
                    label,
                    _percent(c["precision"]),
                    _percent(c["recall"]),
                    *(f"{c[name]:,}" for name in ("training", "validation", "testing")),
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
        *_fine_tuning(module, card["fine_tuning"]),
        f"{module['handle']}, licence: {module['licence'] or 'unknown'}. "
        f"It takes {module['height']} x {module['width']} pixels and returns "
        f"{module['features']:,} features. SHA-256 of its content: `{module['digest']}`.",
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


def _fine_tuning(module: dict[str, Any], record: dict[str, Any] | None) -> list[str]:
    lines = [f"{record['summary']}."] if record else []
    if not module["tuned_from"]:
        return lines
    epochs, photos = module["tuned_epochs"], module["tuned_photos"]
    return [
        *lines,
        f"The module was fine-tuned for {epochs:,} epochs, most recently on {photos:,} training "
        f"photos. It was made from {module['tuned_from']} and has the same licence.",
    ]


def _calibration(calibration: dict[str, Any] | None) -> list[str]:
    if not calibration:
        return []
    error = calibration["expected_calibration_error"]
    temperature = calibration["temperature"]
    photos = f"{calibration['validation']:,} validation photos"
    lines = ["## Thresholds"]
    if calibration["folded_in"]:
        lines.append(
            f"Probabilities are calibrated on {photos} (temperature {temperature:.3g}): expected "
            f"calibration error {_percent(error['before'])} before, {_percent(error['after'])} "
            "after."
        )
    elif temperature is not None:
        lines.append(
            f"Probabilities are not calibrated. The expected calibration error on {photos} is "
            f"{_percent(error['before'])}; --calibrate (temperature {temperature:.3g}) would "
            f"change it to {_percent(error['after'])}."
        )
    rows = [
        [
            _percent(t["precision"]),
            "none" if t["threshold"] is None else f"{t['threshold']:.3f}",
            _percent(t["coverage"]),
        ]
        for t in calibration["thresholds"]
    ]
    lines.append(
        "Accept only answers with at least this score to reach the given precision on validation "
        "photos:"
    )
    return [*lines, _table(["precision", "score", "coverage"], rows)]


def _known(known: dict[str, Any] | None) -> list[str]:
    if not known:
        return []
    rate = _percent(known["unknown_rate"])
    text = (
        "`known` is the share of the known photos that fit the training photos no better. Photos "
        f"with at most {rate} are unlikely to show any of the classes; {rate} of the photos of "
        "these classes are rejected as well."
    )
    if 0 < known["unknown_rate"] < known["lowest"]:
        text += f" With so few validation photos, it is never below {_percent(known['lowest'])}."
    if known["passed"] is not None:
        text += (
            f" Of {known['unknown_count']:,} photos of something else, "
            f"{_percent(known['passed'])} have more."
        )
    if known["other_class"]:
        text += f" The class {known['other_class']} stands for other photos, and is no answer."
    return ["## Unknown photos", text]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """Escape a text for a table cell: labels may contain any character."""
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
