"""Decisions: which photos the lines are about, and what they change in a manifest."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.photos import decisions, manifest, remarks
from pipeline.photos.corrections import Correction
from pipeline.photos.decisions import Applied
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from tests.support.photos import PhotoMaker
from tests.support.tars import pack_folder

A = "a" * 64


def decided(lines: list[tuple[str, ...]], paths: list[str]) -> dict[str, tuple[str, str, bool]]:
    corrections = [Correction(A, *line) for line in lines]
    found = decisions.decide_files(corrections, paths)
    return {path: (d.action, d.label, d.conflict) for path, d in found.items()}


def test_a_line_survives_a_move() -> None:
    assert decided([("old.jpg", "exclude")], ["new.jpg"]) == {"new.jpg": ("exclude", "", False)}


def test_one_of_two_identical_files_is_kept() -> None:
    lines = [("b.jpg", "exclude"), ("a.jpg", "keep")]
    kept, gone = ("keep", "", False), ("exclude", "", False)
    assert decided(lines, ["a.jpg", "b.jpg"]) == {"a.jpg": kept, "b.jpg": gone}
    assert decided(lines, ["a.jpg"]) == {"a.jpg": kept}
    assert decided(lines, ["a.jpg", "moved.jpg"]) == {"a.jpg": kept, "moved.jpg": gone}
    both = decided(lines, ["moved.jpg", "too.jpg"])  # which one is which is not known: lose none
    assert set(both.values()) == {("keep", "", True)}


def test_a_label_is_right_for_all_copies_and_an_exclusion_is_not() -> None:
    lines = [("a.jpg", "relabel", "kiwi")]
    assert decided(lines, ["a.jpg", "copy.jpg"])["copy.jpg"] == ("relabel", "kiwi", False)
    assert "copy.jpg" not in decided([("a.jpg", "exclude")], ["a.jpg", "copy.jpg"])


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ([("relabel", "kiwi"), ("relabel", "lime")], ("relabel", "lime", True)),
        ([("relabel", "kiwi"), ("relabel", "kiwi")], ("relabel", "kiwi", False)),
        ([("relabel", "kiwi"), ("exclude",)], ("exclude", "", True)),
        ([("exclude",), ("keep",)], ("keep", "", True)),
        ([("keep",), ("relabel", "kiwi")], ("relabel", "kiwi", True)),
        ([("relabel", "kiwi"), ("keep",)], ("relabel", "kiwi", False)),
    ],
)
def test_the_last_of_conflicting_lines_counts(
    lines: list[tuple[str, ...]], outcome: tuple[str, str, bool]
) -> None:
    assert decided([("a.jpg", *line) for line in lines], ["a.jpg"]) == {"a.jpg": outcome}


def build(folder: Path, *lines: Correction, before: pd.DataFrame | None = None) -> pa.Table:
    return manifest.build(list_photos(folder), folder, SplitRule(), before, corrected=lines)


def corrected(folder: Path, *lines: tuple[str, ...]) -> tuple[pd.DataFrame, Applied | None]:
    digests = build(folder).to_pandas().set_index("path")["digest"]
    found = [Correction(digests.get(line[0], A), *line, line=i) for i, line in enumerate(lines)]
    table = build(folder, *found)
    return table.to_pandas().set_index("path"), manifest.applied(table.schema)


def test_without_lines_the_manifest_is_the_same(photo_dir: Path) -> None:
    assert build(photo_dir).equals(build(photo_dir, *()), check_metadata=True)
    assert manifest.applied(build(photo_dir).schema) is None


def test_photos_are_relabelled_and_excluded_and_keep_their_split(photo_dir: Path) -> None:
    plain = build(photo_dir).to_pandas().set_index("path")
    rows, applied = corrected(
        photo_dir,
        ("red_rose/0.jpg", "relabel", "green leaf"),
        ("red_rose/1.jpg", "relabel", "tulip"),
        ("red_rose/2.jpg", "relabel", "red_rose"),
        ("red_rose/3.jpg", "exclude"),
        ("gone.jpg", "keep"),
    )
    assert list(rows["label"][["red_rose/0.jpg", "red_rose/1.jpg"]]) == ["green leaf", "tulip"]
    assert (rows["split"].drop("red_rose/3.jpg") == plain["split"].drop("red_rose/3.jpg")).all()
    aside = rows.loc["red_rose/3.jpg"]
    assert (aside["status"], aside["split"]) == ("excluded by corrections", "")
    assert applied
    assert applied.relabelled == {"red_rose/0.jpg": "red_rose", "red_rose/1.jpg": "red_rose"}
    assert (applied.needless, applied.missing) == ([2], [4])
    assert applied.new_labels == ["tulip"]


def test_lines_that_were_carried_out_or_contradict_are_not_obsolete(photo_dir: Path) -> None:
    digests = build(photo_dir).to_pandas().set_index("path")["digest"]

    def line(path: str, now: str, *rest: str, number: int) -> Correction:
        return Correction(digests.get(now, A), path, *rest, line=number)

    lines = [
        line("green leaf/old.jpg", "red_rose/0.jpg", "relabel", "red_rose", number=2),  # moved
        line("red_rose/1.jpg", "red_rose/1.jpg", "relabel", "tulip", number=3),
        line("red_rose/1.jpg", "red_rose/1.jpg", "relabel", "red_rose", number=4),
        line("red_rose/deleted.jpg", "", "exclude", number=5),
        Correction("d" * 64, "red_rose/2.jpg", "exclude", line=6),  # another photo is there
        Correction("b" * 64, "red_rose/gone.jpg", "relabel", "tulip", line=7),
        Correction("c" * 64, "/uploads/new.jpg", "relabel", "tulip", line=8),
    ]
    applied = manifest.applied(build(photo_dir, *lines).schema)
    assert applied
    assert (applied.conflicts, applied.needless) == ([[3, 4]], [])
    assert (applied.missing, applied.elsewhere) == ([6, 7], [8])


def test_a_merged_label_is_the_one_that_replaces_it(photo_dir: Path) -> None:
    rows = build(photo_dir).to_pandas()
    line = Correction(rows["digest"][0], "", "relabel", "rose")
    applied = decisions.apply(rows, [line], {"rose": "red_rose"}.__getitem__)
    assert rows["label"][0] == "red_rose"
    assert applied.relabelled == {rows["path"][0]: "green leaf"}


def test_an_excluded_photo_is_not_set_aside_and_a_new_label_is_a_class(photo_dir: Path) -> None:
    digests = build(photo_dir).to_pandas()["digest"]
    table = build(photo_dir, *[Correction(d, "", "relabel", "tulip") for d in digests[:3]])
    by_label = manifest.summary_of(table.schema).by_label
    assert {label: c.usable for label, c in by_label.items()} == {
        "green leaf": 21,
        "red_rose": 24,
        "tulip": 3,
    }
    table = build(photo_dir, Correction(digests[0], "", "exclude"))
    summary = manifest.summary_of(table.schema)
    assert (summary.set_aside, summary.by_label["green leaf"].usable) == (0, 23)


def test_corrections_that_empty_a_class_are_named(photo_dir: Path) -> None:
    rows = build(photo_dir).to_pandas()
    roses = rows.loc[rows["label"] == "red_rose", "digest"]
    lines = [Correction(digest, "", "relabel", "tulip") for digest in roses[1:]]
    lines.append(Correction(roses.iloc[0], "", "exclude"))
    table, listing = build(photo_dir, *lines), list_photos(photo_dir)
    found = list(remarks.summary_lines(table, listing, photo_dir, SplitRule()))
    start = "Class 'red_rose' has no usable photos and is left out: corrections relabelled 23 and "
    (line,) = (line for line in found if line.startswith(start))
    assert line.removeprefix(start).startswith("excluded 1 of its photos. If that is not intended")
    lines += [Correction(digest, "", "relabel", "tulip") for digest in rows["digest"]]
    with pytest.raises(UserError, match=r"1 class with .*, or delete lines of corrections.csv \("):
        build(photo_dir, *lines)
    lines = [Correction(digest, "", "exclude") for digest in rows["digest"]]
    with pytest.raises(UserError, match=r"0 classes .* \(0 photos relabelled, 48 excluded"):
        build(photo_dir, *lines)


@pytest.mark.parametrize("packed", [False, True])
def test_a_correction_that_is_taken_back_leaves_no_trace(
    photo_dir: Path, make_photo: PhotoMaker, tmp_path: Path, packed: bool
) -> None:
    """The next run takes the inspections from the corrected manifest."""
    damaged = make_photo(photo_dir / "red_rose/damaged.jpg")
    damaged.write_bytes(damaged.read_bytes()[:500])
    folder = tmp_path / "packed" if packed else photo_dir
    if packed:
        pack_folder(photo_dir, folder)
    plain = build(folder)
    digests = plain.to_pandas().set_index("path")["digest"]
    (bad,) = (path for path in digests.index if path.endswith("damaged.jpg"))
    lines = [
        Correction(digests.iloc[0], "", "relabel", "red_rose"),
        Correction(digests.iloc[1], "", "exclude"),
        Correction(digests[bad], bad, "exclude"),
    ]
    table = build(folder, *lines)
    assert manifest.summary_of(table.schema).set_aside == 0
    path = tmp_path / "manifests/corrected.parquet"
    manifest.write(table, path)
    before = manifest.newest(path.parent, folder)
    assert build(folder, before=before).equals(plain, check_metadata=True)
