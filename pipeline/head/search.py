"""The search over heads: rank several of them by their metrics on the validation photos."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.files import atomic

FORMAT_VERSION = 2  # raise it when the table changes


@dataclass(frozen=True)
class Candidate:
    """A trained head to compare.

    Attributes:
        options: its options by name.
        directory: folder of the head.
        seconds_per_photo: time that its module takes per photo; 0 if all have the same module.
    """

    options: dict[str, object]
    directory: Path
    seconds_per_photo: float = 0.0


def rank(candidates: list[Candidate]) -> pd.DataFrame:
    """Return one row per head, best first: metrics, options, the chosen L2 and the folder.

    If the modules differ, the metrics include the time that they take per photo. The best head has
    the highest accuracy on validation, then the lowest calibrated cross-entropy.
    """
    rows = []
    for candidate in candidates:
        training = json.loads((candidate.directory / "training.json").read_text())
        (kept,) = (trial for trial in training["path"] if trial["l2"] == training["l2"])
        metrics = {
            name: kept[name]
            for name in ("validation_accuracy", "calibrated_cross_entropy", "training_accuracy")
        }
        if candidate.seconds_per_photo:
            metrics["seconds_per_photo"] = candidate.seconds_per_photo
        rows.append(
            {**metrics, **candidate.options, "l2": kept["l2"], "head": str(candidate.directory)}
        )
    order, ascending = ["validation_accuracy", "calibrated_cross_entropy"], [False, True]
    return pd.DataFrame(rows).sort_values(
        order, ascending=ascending, kind="stable", ignore_index=True
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a ranking as CSV."""
    with atomic.write(path) as temporary:
        table.to_csv(temporary, index=False)


def command(image_dir: str, output_dir: str, options: dict[str, object]) -> str:
    """Return the command that exports a head with these options; others are those of luigi.cfg."""
    folders = f"IMAGE_DIR={shlex.quote(image_dir)} OUTPUT_DIR={shlex.quote(output_dir)}"
    words = [f"--{name.replace('_', '-')} {shlex.quote(str(options[name]))}" for name in options]
    return f'make train {folders} OPTIONS="{" ".join(words)}"'


def summary_lines(table: pd.DataFrame) -> list[str]:
    """Return the ranking as lines of text, with the folder of the best head only."""
    text: str = table.drop(columns="head").to_string(index=False, float_format="{:.4g}".format)
    return [*text.splitlines(), f"The best head is in {table['head'][0]}"]
