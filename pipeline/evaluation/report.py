"""The evaluation report: metrics, predictions and findings as files, and a page that shows them.

evaluation.json       all numbers of the page, described in docs/evaluation.md
predictions.parquet   the predictions for the test photos
findings.parquet      the findings of the data checks
photos.parquet        the photos that the model was made of: `model_photos.py`
report.html           the page
"""

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import model_photos, thresholds
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.data_checks import checks, duplicates
from pipeline.evaluation.metrics import Evaluation
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.evaluation.unknown_photos import UnknownPhotos
from pipeline.files import atomic, html
from pipeline.files.places import Place
from pipeline.files.timings import Timing
from pipeline.fine_tuning.result import Record
from pipeline.photos import split
from pipeline.photos.manifest import Summary
from pipeline.pixels import thumbnails
from pipeline.pixels.decoding import InputSpec

FILE, FIGURES = "report.html", "evaluation.json"
# Limits that keep the page below 3 MB; the other files are complete.
MAX_WRONG, MAX_PICTURES = 1000, 120  # misclassified photos listed, and shown as thumbnails
MAX_FINDINGS, MAX_PER_FINDING = 12, 4  # findings per kind, and photos per finding
MAX_CORRECTED = 5  # relabelled photos, and excluded ones
_PACKAGES = ("tensorflow", "tensorflow-hub", "numpy", "pandas", "pyarrow", "pillow", "luigi")


@dataclass(frozen=True)
class Run:
    """The context of an evaluation.

    Attributes:
        recipe: how the vectors were made.
        summary: the classes and their counts.
        photos: the photos that the head was trained and is evaluated on.
        settings: values of the options.
        timings: when the steps last ran for these results, and how long they took.
        head: folder of the head, whose `calibration.json`, if any, is read.
        compared: comparison with the current model, if any.
        earlier: folder of that model.
        unknown: what the head's familiarity rejects; None for a head without it.
        fine_tuning: what fine-tuning did, with or without success; None without it.
        corrected: the photos that corrections relabelled and excluded, from `changes.corrected`.
    """

    recipe: Recipe
    summary: Summary
    photos: ModelPhotos
    settings: Mapping[str, str]
    timings: Sequence[Timing]
    head: Path
    compared: Comparison | None
    earlier: Path
    unknown: UnknownPhotos | None = None
    fine_tuning: Record | None = None
    corrected: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def write(
    run: Run,
    evaluation: Evaluation,
    predictions: pd.DataFrame,
    findings: pd.DataFrame,
    image_dir: Place,
    directory: Path,
) -> None:
    """Write all files of an evaluation.

    Args:
        run: context of the evaluation.
        evaluation, predictions: result of `metrics.evaluate`.
        findings: result of `checks.run`.
        image_dir: folder that the photos' paths are relative to.
        directory: folder to create.
    """
    figures = _figures(run, evaluation, predictions, findings)
    pictures = _pictures(figures, findings, image_dir, run.recipe.module.input)
    page = html.render(
        "report.html",
        **figures,
        kinds=checks.KINDS,
        findings=_findings(findings),
        tests_leak=split.TESTING in set(findings.loc[findings["kind"] == duplicates.LEAK, "split"]),
        pictures=pictures,
        max_wrong=MAX_WRONG,
        max_findings=MAX_FINDINGS,
        max_per_finding=MAX_PER_FINDING,
        max_pictures=MAX_PICTURES,
        max_corrected=MAX_CORRECTED,
        splits=split.SPLITS,
        trained_on={c.label: c.training for c in run.summary.classes},
    )
    with atomic.write(directory) as temporary:
        temporary.mkdir()
        text = json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False)
        (temporary / FIGURES).write_text(text + "\n", encoding="utf-8")
        table = pa.Table.from_pandas(predictions, _PREDICTIONS, preserve_index=False)
        pq.write_table(table, temporary / "predictions.parquet")
        checks.write(findings, temporary / "findings.parquet")
        model_photos.write(run.photos, temporary)
        (temporary / FILE).write_text(page, encoding="utf-8")


def read_figures(directory: Path) -> dict[str, Any]:
    """Return the content of an evaluation's `evaluation.json`."""
    figures: dict[str, Any] = json.loads((directory / FIGURES).read_text(encoding="utf-8"))
    return figures


def _figures(
    run: Run, evaluation: Evaluation, predictions: pd.DataFrame, findings: pd.DataFrame
) -> dict[str, Any]:
    """Return the content of `evaluation.json`."""
    module, classes, tuning = run.recipe.module, run.summary.classes, run.fine_tuning
    counts = findings.groupby("kind", sort=False)["finding"].nunique()
    return {
        **asdict(evaluation),
        "thresholds": [asdict(row) for row in thresholds.measure(run.head, predictions)],
        "unknown": run.unknown and asdict(run.unknown),
        "comparison": run.compared and _comparison(run, run.compared),
        "data": {
            **{part: sum(getattr(c, part) for c in classes) for part in split.SPLITS},
            "set_aside": sum(c.set_aside for c in classes),
            "classes": [
                {name: value for name, value in asdict(c).items() if name != "digest"}
                for c in classes
            ],
            "findings": {kind: int(counts.get(kind, 0)) for kind in checks.KINDS},
            "corrections": {"relabelled": [], "excluded": [], **run.corrected},
        },
        "run": {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "module": module.handle,
            "module_digest": module.digest,
            "fine_tuning": tuning and {"summary": tuning.summary, **asdict(tuning)},
            "input": f"{module.width} x {module.height} pixels",
            "features": module.features,
            "precision": run.recipe.precision,
            "settings": dict(run.settings),
            "timings": [asdict(timing) for timing in run.timings],
            "versions": _versions(),
        },
    }


def _versions() -> dict[str, str]:
    """Return the versions of Python and of those of `_PACKAGES` that are installed."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _comparison(run: Run, compared: Comparison) -> dict[str, Any]:
    """Return the comparison, and how the photos of the earlier model differ."""
    earlier = read_figures(run.earlier)
    before = {c["label"]: _usable(c) for c in earlier.get("data", {}).get("classes", [])}
    after = {c.label: c.usable for c in run.summary.classes}
    changed = [
        {"label": label, "before": before.get(label, 0), "after": after.get(label, 0)}
        for label in sorted({*before, *after} if before else ())
        if before.get(label, 0) != after.get(label, 0)
    ]
    return {
        **asdict(compared),
        "significant": compared.significant,
        "sufficient": compared.sufficient,
        "own_top1": earlier.get("top1"),
        "own_count": earlier.get("count"),
        "model": run.earlier.resolve().name,
        "date": earlier.get("run", {}).get("date"),
        "photos_by_class": changed,
    }


def _usable(class_counts: Mapping[str, int]) -> int:
    return sum(class_counts[name] for name in split.SPLITS)


def _findings(findings: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """Return the findings of each kind that the page shows."""
    shown: dict[str, list[pd.DataFrame]] = {}
    for kind, rows in findings.groupby("kind", sort=False):
        groups = [group for _, group in rows.groupby("finding", sort=False)]
        shown[str(kind)] = groups[:MAX_FINDINGS]
    return shown


def _pictures(
    figures: dict[str, Any], findings: pd.DataFrame, image_dir: Place, spec: InputSpec
) -> dict[str, str]:
    """Return the thumbnails that the page shows, by path."""
    paths = [str(row["path"]) for row in figures["misclassified"][:MAX_PICTURES]]
    if figures["comparison"]:
        paths += figures["comparison"]["broken_photos"][:MAX_FINDINGS]
    if figures["unknown"]:
        paths += [str(row["path"]) for row in figures["unknown"]["strangest"]]
    for groups in _findings(findings).values():
        paths += [path for group in groups for path in group["path"].head(MAX_PER_FINDING) if path]
    unique = list(dict.fromkeys(paths))
    uris = thumbnails.data_uris([image_dir / path for path in unique], spec)
    return dict(zip(unique, uris, strict=True))


_PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("digest", pa.string()),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("correct", pa.bool_()),
        ("familiarity", pa.float32()),
        ("known", pa.float32()),
    ]
)
