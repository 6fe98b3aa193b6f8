"""Faults of the data: one check a file, all of them behind one list.

A check takes the Subject and yields Findings. To add one, write its file, and enter it in `CHECKS`
and its kinds in `KINDS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import class_sizes, duplicates, files, labels, outliers
from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.files import atomic

FORMAT_VERSION = 1  # raise it when a check finds something else
CHECKS = (duplicates.find, labels.find, files.find, outliers.find, class_sizes.find)
_NAMED = 3  # findings named in a message


@dataclass(frozen=True)
class Kind:
    """What findings of one kind are called, and what they mean to whoever reads of them."""

    title: str
    meaning: str


KINDS = {  # the gravest first
    duplicates.LEAK: Kind(
        "One photo in two parts of the split",
        "The model was trained or chosen on a photo that it is tested on, so its accuracy looks "
        "better than it is. Keep one of them, or set group_duplicates for files that are the same.",
    ),
    duplicates.CONFLICT: Kind(
        "One photo in two classes",
        "One of the labels is wrong, or both are right and the model can only be right half of "
        "the time. Keep the photo in one class.",
    ),
    labels.LABEL: Kind(
        "Labels that may be wrong",
        "A classifier that has not seen the photo is sure of another class. Look, and move the "
        "photo if it is right. Some of these are merely hard to tell.",
    ),
    files.UNREADABLE: Kind(
        "Files that cannot be read", "They are left out. Copy them again, or delete them."
    ),
    files.FORMAT: Kind(
        "Files of another kind",
        "Kinds that are not supported are left out. Convert them, or rename them.",
    ),
    duplicates.DUPLICATE: Kind(
        "The same file more than once",
        "In one class and one part of the split, it counts more than others. Delete the copies.",
    ),
    duplicates.NEAR_DUPLICATE: Kind(
        "Nearly the same photo more than once",
        "Saved anew, or taken a moment later. In one class and one part of the split, such photos "
        "teach little.",
    ),
    outliers.OUTLIER: Kind(
        "Photos that look like nothing else",
        "They may have come here by mistake, or be the only ones of their kind: then add more.",
    ),
    files.TINY: Kind("Tiny photos", "There is little to see on them. Replace them."),
    files.GREY: Kind(
        "Photos without colour",
        "The model may learn from the missing colour instead of what is on the photo.",
    ),
    class_sizes.SMALL: Kind("Classes with few photos", "Add photos, or merge classes."),
    class_sizes.IMBALANCE: Kind(
        "Classes much smaller than the largest",
        "class_weighting = balanced makes up for part of it. Add photos to the small ones.",
    ),
}

_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # of KINDS
        ("finding", pa.int32()),  # number; photos of one finding share it
        ("path", pa.string()),  # empty where the finding is about a class
        ("label", pa.string()),
        ("split", pa.string()),
        ("score", pa.float32()),  # how grave or how sure, within a kind
        ("detail", pa.string()),
    ]
)


def run(subject: CheckContext) -> pd.DataFrame:
    """Run all checks.

    Returns:
        One row a photo of each finding, the gravest kind first, as `findings.parquet` has them:
        kind, finding, path, label, split, score, detail.
    """
    found = [finding for find in CHECKS for finding in find(subject)]
    rank = {kind: number for number, kind in enumerate(KINDS)}
    found.sort(key=lambda finding: (rank[finding.kind], -finding.score))
    columns = (subject.listed[name] for name in ("path", "label", "split"))
    rows_by_path = {path: (label, part) for path, label, part in zip(*columns, strict=True)}
    rows = [
        (f.kind, number, path, *rows_by_path.get(path, (f.label, "")), f.score, f.detail)
        for number, f in enumerate(found)
        for path in f.paths or ("",)
    ]
    return pd.DataFrame(rows, columns=_SCHEMA.names)


def write(findings: pd.DataFrame, path: Path) -> None:
    """Write what `check` found."""
    with atomic.write(path) as temporary:
        table = pa.Table.from_pandas(findings, _SCHEMA, preserve_index=False)
        pq.write_table(table, temporary, compression="zstd")


def read(path: Path, kinds: tuple[str, ...] = tuple(KINDS)) -> pd.DataFrame:
    """Read what `write` wrote, or the findings of some kinds."""
    table = pq.read_table(path)
    frame: pd.DataFrame = table.filter(
        pc.is_in(table["kind"], pa.array(kinds, pa.string()))
    ).to_pandas()
    return frame


def parse_kinds(fail_on: str) -> tuple[str, ...]:
    """The kinds that the option `fail_on` names, each once, in order.

    Raises:
        UserError: where there is no such kind.
    """
    kinds = sorted({kind.strip() for kind in fail_on.split(",") if kind.strip()})
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"fail_on: there is no kind {kind!r}; there are {', '.join(KINDS)}")
    return tuple(kinds)


def fail_on_findings(findings: pd.DataFrame, path: Path) -> None:
    """Be the gate.

    Args:
        findings: that may not be there.
        path: of the file with all of them.

    Raises:
        UserError: where there is one.
    """
    if findings.empty:
        return
    counts = findings.groupby("kind", sort=False)["finding"].nunique()
    number = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items())
    groups = [part for _, part in findings.groupby("finding", sort=False)][:_NAMED]
    named = "; ".join(f"{_name(group)} ({group['detail'].iloc[0]})" for group in groups)
    raise UserError(
        f"fail_on: the photos have faults that may not be: {number}, such as {named}. Mend them, "
        f"or take the kind out of fail_on; all findings are in {path}"
    )


def _name(group: pd.DataFrame) -> str:
    paths = [str(path) for path in group["path"] if path]
    return " and ".join(paths[:2]) or f"class {group['label'].iloc[0]}"


def summary_lines(findings: pd.DataFrame) -> Iterator[str]:
    """What a user should know of the findings: one line."""
    counts = findings.groupby("kind", sort=False)["finding"].nunique()
    if len(counts):
        said = "; ".join(f"{KINDS[str(kind)].title.lower()}: {n:,}" for kind, n in counts.items())
        yield f"Faults of the data: {said}"
