"""The data checks and their findings.

A check is a function from a CheckContext to Findings. To add one, write its file, and add it to
`CHECKS` and its kinds to `KINDS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import (
    class_sizes,
    duplicates,
    files,
    labels,
    outliers,
    pixel_range,
)
from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.files import atomic

FORMAT_VERSION = 4  # raise it when the findings of a check change
CHECKS = (
    duplicates.find,
    labels.find,
    files.find,
    outliers.find,
    class_sizes.find,
    pixel_range.find,
)
_MAX_NAMED = 3  # findings named in a message


@dataclass(frozen=True)
class Kind:
    """The title of a kind of findings, and what it means for the reader of the page."""

    title: str
    meaning: str


KINDS = {  # most severe first
    duplicates.LEAK: Kind(
        "One photo in two splits",
        "If one of them is a test photo, the accuracy is overestimated. Otherwise, a validation "
        "photo that the model was trained on decides between heads. Keep one of the photos, or set "
        "group_duplicates for identical files.",
    ),
    duplicates.CONFLICT: Kind(
        "One photo in two classes",
        "One of the labels is wrong; or both are correct, and the model can be right only half of "
        "the time. Keep the photo in one class.",
    ),
    pixel_range.PIXEL_RANGE: Kind(
        "Pixel range that may be wrong for the module",
        "A hint from a sample of the photos. The module's documentation states the range that it "
        "expects: set image_range to it, and train again. Without documentation, train with both "
        "ranges, and compare the accuracies.",
    ),
    labels.LABEL: Kind(
        "Labels that may be wrong",
        "A classifier that has not seen the photo is confident about another class. Check the "
        "photo, and move it if the classifier is right. Some photos are just hard to classify.",
    ),
    labels.SAME_CLASS: Kind(
        "Pairs of classes that may be one class",
        "A classifier hardly tells their photos apart. If they are one class, merge them with "
        "merge_labels; otherwise, no model on these vectors will separate them.",
    ),
    files.UNREADABLE: Kind(
        "Unreadable files", "They are ignored. Copy them again, or delete them."
    ),
    files.FORMAT: Kind(
        "Wrong file formats",
        "Unsupported formats are ignored. Convert or rename the files.",
    ),
    duplicates.DUPLICATE: Kind(
        "Identical files",
        "Within one class and one split, they count more than other photos. Delete the duplicates.",
    ),
    duplicates.NEAR_DUPLICATE: Kind(
        "Near duplicates",
        "The same picture, saved again or taken a moment later. Within one class and one split, "
        "such photos contribute little.",
    ),
    outliers.OUTLIER: Kind(
        "Outliers",
        "They may be here by mistake. If they are the only ones of their kind, add more.",
    ),
    files.UNIFORM: Kind(
        "Photos of one colour",
        "The module sees nothing in them. Replace them; save photos of 16 bits per channel, whose "
        "values are often small, with 8 bits.",
    ),
    files.TINY: Kind("Tiny photos", "They show few details. Replace them."),
    files.GREY: Kind(
        "Photos without colour",
        "The model may learn from the missing colour instead of the content.",
    ),
    class_sizes.SMALL: Kind("Classes with few photos", "Add photos, or merge classes."),
    class_sizes.IMBALANCE: Kind(
        "Classes much smaller than the largest",
        "class_weighting = balanced compensates in part. Add photos to the small classes.",
    ),
}

_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # one of KINDS
        ("finding", pa.int32()),  # number, shared by the photos of a finding
        ("path", pa.string()),  # empty if the finding is about a class
        ("label", pa.string()),
        ("split", pa.string()),
        ("score", pa.float32()),  # severity or confidence, within a kind
        ("detail", pa.string()),
    ]
)


def run(context: CheckContext) -> pd.DataFrame:
    """Run all checks.

    Returns:
        One row per photo of each finding, most severe kind first, with the columns of
        `findings.parquet`: kind, finding, path, label, split, score, detail.
    """
    findings = [finding for find in CHECKS for finding in find(context)]
    rank = {kind: number for number, kind in enumerate(KINDS)}
    findings.sort(key=lambda finding: (rank[finding.kind], -finding.score))
    paths = {path for finding in findings for path in finding.paths}
    named = context.listed[context.listed["path"].isin(paths)]
    columns = (named[name] for name in ("path", "label", "split"))
    rows_by_path = {path: (label, name) for path, label, name in zip(*columns, strict=True)}
    rows = [
        (f.kind, number, path, *rows_by_path.get(path, (f.label, "")), f.score, f.detail)
        for number, f in enumerate(findings)
        for path in f.paths or ("",)
    ]
    return pd.DataFrame(rows, columns=_SCHEMA.names)


def write(findings: pd.DataFrame, path: Path) -> None:
    """Write the findings as Parquet."""
    with atomic.write(path) as temporary:
        table = pa.Table.from_pandas(findings, _SCHEMA, preserve_index=False)
        pq.write_table(table, temporary, compression="zstd")


def read(path: Path, kinds: tuple[str, ...] = tuple(KINDS)) -> pd.DataFrame:
    """Read the findings of some kinds."""
    table = pq.read_table(path)
    frame: pd.DataFrame = table.filter(
        pc.is_in(table["kind"], pa.array(kinds, pa.string()))
    ).to_pandas()
    return frame


def parse_kinds(fail_on: str) -> tuple[str, ...]:
    """Parse the option `fail_on` to a sorted tuple of kinds.

    Raises:
        UserError: if there is no such kind.
    """
    kinds = sorted({kind.strip() for kind in fail_on.split(",") if kind.strip()})
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"fail_on: unknown kind {kind!r}; choose from {', '.join(KINDS)}")
    return tuple(kinds)


def fail_on_findings(findings: pd.DataFrame, path: Path) -> None:
    """Raise if any finding of a fail_on kind is present.

    Args:
        findings: the findings of these kinds.
        path: file of all findings.

    Raises:
        UserError: if there is a finding.
    """
    if findings.empty:
        return
    counts = findings.groupby("kind", sort=False)["finding"].nunique()
    number = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items())
    groups = [group for _, group in findings.groupby("finding", sort=False)][:_MAX_NAMED]
    examples = "; ".join(f"{_name(group)} ({group['detail'].iloc[0]})" for group in groups)
    raise UserError(
        f"fail_on: data checks failed: {number}, such as {examples}. Fix the photos or remove the "
        f"check from fail_on; all findings are in {path}"
    )


def _name(group: pd.DataFrame) -> str:
    paths = [str(path) for path in group["path"] if path]
    return " and ".join(paths[:2]) or f"class {group['label'].iloc[0]}"


def summary_lines(findings: pd.DataFrame) -> Iterator[str]:
    """Yield what users should know about the findings, one line each."""
    counts = findings.groupby("kind", sort=False)["finding"].nunique()
    if len(counts):
        kinds = (f"{KINDS[str(kind)].title.lower()}: {n:,}" for kind, n in counts.items())
        yield f"Data checks: {'; '.join(kinds)}"
    for label, detail in findings[findings["kind"] == labels.SAME_CLASS][
        ["label", "detail"]
    ].values:
        yield f"Class {label!r} {detail} of their photos; merge_labels can merge them"
    for detail in findings["detail"][findings["kind"] == pixel_range.PIXEL_RANGE]:
        yield (
            f"tfhub_module: {detail}. If the module's documentation agrees, set image_range, and "
            "train again"
        )
