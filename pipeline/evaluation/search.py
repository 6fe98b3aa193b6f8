"""The search over heads: rank several of them by their metrics on the validation photos."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.evaluation.statistics import wilson_interval
from pipeline.files import atomic, make

FORMAT_VERSION = 3  # raise it when the table changes

_MODULE = ["tfhub_module", "input"]
_METRICS = ["validation_accuracy", "calibrated_cross_entropy", "training_accuracy"]
_IN_OVERVIEW = ["validation_photos", "accuracy_low", "accuracy_high", "seconds_per_photo"]


@dataclass(frozen=True)
class Candidate:
    """A trained head to compare.

    Attributes:
        options: its options by name, with `tfhub_module`.
        directory: folder of the head.
        input: input size of its module, such as "224 x 224".
        command: exports it.
        seconds_per_photo: time that its module takes per photo; 0 if all have the same module.
    """

    options: dict[str, object]
    directory: Path
    input: str
    command: str = ""
    seconds_per_photo: float = 0.0


def rank(candidates: list[Candidate]) -> pd.DataFrame:
    """Return one row per head, best first: metrics, options, the chosen L2 and the folder.

    The best head has the highest accuracy on validation, then the lowest calibrated cross-entropy.
    `accuracy_low` and `accuracy_high` are the 95% confidence interval of the accuracy. If the
    modules differ, `seconds_per_photo` is the time that they take.
    """
    rows = []
    for candidate in candidates:
        training = json.loads((candidate.directory / "training.json").read_text())
        (kept,) = (trial for trial in training["path"] if trial["l2"] == training["l2"])
        count, accuracy = training["validation"], kept["validation_accuracy"]
        low, high = wilson_interval(round((accuracy or 0) * count), count) or (None, None)
        metrics = {name: kept[name] for name in _METRICS}
        metrics |= {"validation_photos": count, "accuracy_low": low, "accuracy_high": high}
        if candidate.seconds_per_photo:
            metrics["seconds_per_photo"] = candidate.seconds_per_photo
        made_of = {**candidate.options, "input": candidate.input, "l2": kept["l2"]}
        rows.append({**metrics, **made_of, "head": str(candidate.directory)})
    order, ascending = ["validation_accuracy", "calibrated_cross_entropy"], [False, True]
    return pd.DataFrame(rows).sort_values(
        order, ascending=ascending, kind="stable", ignore_index=True
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a ranking as CSV."""
    with atomic.write(path) as temporary:
        table.to_csv(temporary, index=False)


def command(image_dir: str, output_dir: str, options: dict[str, object]) -> str:
    """Return the command that exports a head with these options; others have their defaults."""
    photos = [] if "dataset" in options else [f"IMAGE_DIR={image_dir}"]
    return make.command("train", *photos, f"OUTPUT_DIR={output_dir}", options=options)


def summary_lines(table: pd.DataFrame) -> Iterator[str]:
    """Yield the ranking as lines of text: first the modules, if there are several, then all heads.

    Options that all heads have in common are left out.
    """
    photos = f"{table['validation_photos'][0]:,} validation photos"
    best = table.drop_duplicates(_MODULE)
    if len(best) > 1:
        yield f"Modules with their best heads, on {photos}:"
        yield from _lines(_overview(best))
    if table["validation_photos"][0]:
        yield f"Heads, ranked on {photos}:"
    else:
        yield "Heads, not ranked: there are no validation photos; raise validation_percentage:"
    options = [name for name in table.columns if name not in (*_METRICS, *_IN_OVERVIEW, "head")]
    # `input` is the size behind `image_size`, which may be 0.
    differing = [n for n in options if n != "image_size" and table[n].nunique() > 1]
    yield from _lines(table[[*_METRICS, *differing]])
    yield f"The best head is in {table['head'][0]}"


def _overview(best: pd.DataFrame) -> pd.DataFrame:
    low, high = best["accuracy_low"], best["accuracy_high"]
    bounds = zip(low, high, strict=True)
    columns: dict[str, object] = {
        **{name: best[name] for name in _MODULE},
        "accuracy": best["validation_accuracy"].map("{:.1%}".format, na_action="ignore"),
        "95% interval": ["" if pd.isna(a) else f"{a:.1%} to {b:.1%}" for a, b in bounds],
    }
    if "seconds_per_photo" in best:
        seconds = best["seconds_per_photo"]
        columns["seconds_per_photo"] = seconds
        columns["relative_time"] = (seconds / seconds.min()).map("{:.1f}".format)
    return pd.DataFrame(columns)


def _lines(table: pd.DataFrame) -> list[str]:
    text: str = table.to_string(index=False, float_format="{:.4g}".format)
    return text.splitlines()


def faster(table: pd.DataFrame) -> tuple[str, str] | None:
    """Return the best head of the fastest module that is not clearly worse than the best one.

    It is not if its accuracy lies in the confidence interval of the best one. A test on each photo
    would be sharper, but the heads keep no answers for the validation photos.

    Returns:
        Its folder, and a sentence about it; None if the best head has this module.
    """
    if "seconds_per_photo" not in table or not table["validation_photos"][0]:
        return None
    best = table.iloc[0]
    rivals = table.drop_duplicates(_MODULE)
    rivals = rivals[rivals["validation_accuracy"] >= best["accuracy_low"]]
    rival = rivals.loc[rivals["seconds_per_photo"].idxmin()]
    if rival["head"] == best["head"]:
        return None
    share = rival["seconds_per_photo"] / best["seconds_per_photo"]
    return rival["head"], (
        f"{rival['tfhub_module']} at {rival['input']} takes {share:.0%} of the time of the best "
        f"module. The {best['validation_photos']:,} validation photos hardly tell the two apart: "
        "its accuracy is within the 95% interval of the best one"
    )
