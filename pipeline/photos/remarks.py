"""Remarks: what users should know about the data set before training, one line each."""

import json
import math
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import pyarrow as pa

from pipeline.files.numbers import counted
from pipeline.files.places import Place
from pipeline.photos import corrections, inspection, layout, manifest, split
from pipeline.photos.decisions import Applied
from pipeline.photos.file_names import name_of, printable, suffix_of
from pipeline.photos.inspection import Problem
from pipeline.photos.layout import Layout
from pipeline.photos.listing import Listing
from pipeline.photos.manifest import FEW_PHOTOS, ClassSummary
from pipeline.photos.split import SplitRule

MOST_NAMED = 20  # unusable photos that the log lists individually
_CHANCE = 3  # standard deviations by which chance may change the share of a split
_DISTINCT = 0.8  # share of the names of inner folders above which they are hardly views
_MATERIAL = 0.25  # part of the percentage by which the share of a split may differ from it


def label_lines(labels: Sequence[str]) -> Iterator[str]:
    """Yield which labels are almost the same."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(_essence(label), []).append(label)
    groups = [sorted(group) for group in alike.values() if len(group) > 1]
    if groups:
        shown = [" and ".join(map(_show(group), group)) for group in groups]
        merged = {label: group[0] for group in groups[:5] for label in group[1:]}
        yield (
            "Labels that differ only in case, spaces, punctuation or accents are different "
            f"classes: {_some(shown)}. To merge them, pass --merge-labels '{json.dumps(merged)}'"
        )


def _essence(label: str) -> str:
    """Return what remains of a label without case, spaces, punctuation and Latin accents."""
    decomposed = unicodedata.normalize("NFKD", label.casefold())
    kept = (
        c
        for c in decomposed
        if unicodedata.category(c)[0] not in "PZC" and not 0x300 <= ord(c) < 0x370
    )
    return "".join(kept) or unicodedata.normalize("NFC", label).strip()


def _show(labels: Sequence[str]) -> "type[str]":
    """Return the function that shows labels so that they look different."""
    look = {unicodedata.normalize("NFC", label).strip() for label in labels}
    return ascii if len(look) < len(labels) else repr  # type: ignore[return-value]


def summary_lines(
    table: pa.Table, listing: Listing, image_dir: Place, rule: SplitRule
) -> Iterator[str]:
    """Yield what users should know about the data set, apart from `label_lines`.

    Args:
        table: the manifest.
        listing: the listing of the image folder.
        image_dir: the image folder.
        rule: how the photos were split.
    """
    rows = table.select(["label", "path", "split", "status", "problem"]).to_pandas()
    if listing.stray:
        outside = " or in the folder of a split" if listing.layout.split_folders else ""
        yield (
            f"{listing.stray} photos are directly in {image_dir}{outside} and belong to no class; "
            "move them into the folder of their class"
        )
    if not listing.layout.split_folders:
        yield from _nested_lines(rows, image_dir)
    yield from _skipped_lines(listing, rows)
    aside = rows[manifest.set_aside(rows)]
    for row in aside.head(MOST_NAMED).itertuples():
        yield f"Set aside: {printable(str(row.path))}: {row.status}"
    if len(aside) > MOST_NAMED:
        yield f"Set aside: {len(aside) - MOST_NAMED} more; see the manifest's status column"
    classes = manifest.summary_of(table.schema).classes
    yield from class_lines(classes, _taken_away(rows, manifest.applied(table.schema)))
    yield from _missing_split_lines(classes, listing.layout, rule)
    yield from _share_lines(rows[rows["status"] == inspection.OK], listing.layout, rule)


def correction_lines(
    applied: Applied, labels: Collection[str], place: Place, output: str
) -> Iterator[str]:
    """Yield what the corrections changed, and which of their lines are obsolete or conflicting.

    Args:
        applied: what they changed.
        labels: all classes.
        place: their file.
        output: path or URL of the output folder.
    """
    if applied.relabelled or applied.excluded:
        yield f"Corrections: {applied} by {place}"
    others = set(labels).difference(applied.new_labels)
    for label in applied.new_labels:
        yield f"corrections: {corrections.announcement(label, others)}"
    if applied.conflicts:
        shown = [" and ".join(map(str, lines)) for lines in applied.conflicts]
        yield (
            f"corrections: lines of {place} contradict each other about "
            f"{counted(len(shown), 'photo')}; the last one counts. Delete one of lines "
            f"{_some(shown)}"
        )
    for lines, problem in (
        (applied.missing, "about photos that are not in image_dir"),
        (
            applied.elsewhere,
            "about photos that are not in image_dir yet; copy them with make apply-corrections "
            f"OUTPUT_DIR={shlex.quote(output)} APPLY=1",
        ),
        (applied.needless, "giving photos the label that they have anyway; delete them"),
    ):
        if lines:
            number = counted(len(lines), "line")
            yield f"corrections: {place} has {number} {problem}: {_some(list(map(str, lines)))}"


def _nested_lines(rows: pd.DataFrame, image_dir: Place) -> Iterator[str]:
    """Yield whether the class folders seem to be data sets with class folders of their own.

    They do if all photos are in folders within them, of which each has several, with names that
    are mostly words and belong to one class only: years, objects and views are not like that.
    """
    inner: dict[str, set[str]] = {}
    for path in manifest.unpacked(rows["path"][rows["status"] == inspection.OK]):
        label, *folders, _ = path.split("/")
        if not folders:
            return
        inner.setdefault(printable(label), set()).add(printable(folders[0]))
    names = [name for subfolders in inner.values() for name in subfolders]
    words = [name for name in names if not re.search(r"\d", name)]
    several = inner and all(len(subfolders) > 1 for subfolders in inner.values())
    if several and len(words) > len(names) / 2 and len(set(names)) > _DISTINCT * len(names):
        examples = [f"{label}/{min(subfolders)}" for label, subfolders in inner.items()]
        yield (
            f"All photos are in folders within the class folders ({_some(examples)}), and are "
            f"classified only as {_some(list(inner))}. If the inner folders are the classes, set "
            f"image_dir to one of the outer ones, such as {image_dir / next(iter(inner))}"
        )


def _skipped_lines(listing: Listing, rows: pd.DataFrame) -> Iterator[str]:
    leftovers = listing.skipped.leftovers
    if leftovers:
        names = [
            f"{printable(name)} ({count:,})" if count > 1 else printable(name)
            for name, count in leftovers.most_common()
        ]
        total = leftovers.total()
        what = "file or folder" if total == 1 else "files or folders"
        owner = "of the operating system or other programs"
        yield f"Skipped {total:,} {what} {owner}: {_some(names)}"
    others = rows["path"][rows["problem"] == Problem.SKIPPED]
    suffixes = listing.skipped.suffixes + Counter(suffix_of(name_of(path)) for path in others)
    if suffixes:
        counted = [
            f"{count:,} {printable(suffix) or 'without suffix'}"
            for suffix, count in suffixes.most_common()
        ]
        total = suffixes.total()
        what = "file that is not a photo" if total == 1 else "files that are not photos"
        yield f"Skipped {total:,} {what}: {_some(counted)}"


def _taken_away(rows: pd.DataFrame, applied: Applied | None) -> dict[str, str]:
    """Return how many photos corrections took away from classes, in words."""
    if applied is None:
        return {}
    relabelled = Counter(applied.relabelled.values())
    excluded = Counter(rows.loc[rows["path"].isin(applied.excluded), "label"])
    return {
        label: f"corrections relabelled {relabelled[label]:,} and excluded {excluded[label]:,}"
        for label in {*relabelled, *excluded}
    }


def class_lines(
    classes: Sequence[ClassSummary], taken_away: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield which classes cannot be trained, and which are small.

    Args:
        classes: the classes.
        taken_away: how many photos corrections took away from classes, in words.
    """
    for c in classes:
        lacks = "no photos for training" if c.usable else "no usable photos"
        if not c.training and (reason := (taken_away or {}).get(c.label)):
            yield (
                f"Class {c.label!r} has {lacks} and is left out: {reason} of its photos. If that "
                "is not intended, delete these lines; or add photos to it."
            )
        elif not c.training:
            yield f"Class {c.label!r} has {lacks} and is left out; add photos to it."
    few = [f"{c.label} ({c.usable})" for c in classes if 0 < c.usable < FEW_PHOTOS]
    if few:
        yield f"Classes with fewer than {FEW_PHOTOS} photos (accuracy may suffer): {_some(few)}"


def lost_lines(classes: Sequence[ClassSummary], lost: pd.DataFrame) -> Iterator[str]:
    """Yield `class_lines` of the classes that have lost photos which cannot be decoded.

    Args:
        classes: the classes, with these photos.
        lost: label and split of these photos.
    """
    counts = Counter(zip(lost["label"], lost["split"], strict=True))
    labels = set(lost["label"])
    yield from class_lines(
        [
            replace(c, **{part: getattr(c, part) - counts[c.label, part] for part in split.SPLITS})
            for c in classes
            if c.label in labels
        ]
    )


def left_out_lines(classes: Sequence[ClassSummary], labels: Collection[str]) -> Iterator[str]:
    """Yield which classes a model with these labels lacks."""
    missing = [repr(c.label) for c in classes if c.label not in labels]
    if missing:
        yield (
            f"The model has {len(labels):,} of {len(classes):,} classes; left out, as they have no "
            f"usable photos for training: {_some(missing)}"
        )


def _missing_split_lines(
    classes: Sequence[ClassSummary], meaning: Layout, rule: SplitRule
) -> Iterator[str]:
    for part, name in ((split.VALIDATION, "validation"), (split.TESTING, "test")):
        trained = [c for c in classes if c.training]
        without = [c.label for c in trained if not getattr(c, part)]
        if (
            meaning.split_folders
            and part == split.TESTING
            and without == [c.label for c in trained]
        ):
            yield _no_test_line(classes)
        elif without:
            predefined = meaning.split_folders or rule.predefined
            remedy = "add photos" if predefined else f"add photos or raise {part}_percentage"
            yield (
                f"{len(without)} of {len(classes)} classes have no {name} photos: "
                f"{_some(without)}. They are still used for training. To fix this, {remedy}."
            )


def _no_test_line(classes: Sequence[ClassSummary]) -> str:
    """Return why no class that is trained has test photos, in folders of splits."""
    # Classes without training photos, for example because their folder is spelled differently.
    unknown = [c for c in classes if c.testing]
    if not unknown:
        return (
            "split_folders: there are no usable test photos, so the accuracy is not measured; add "
            "a folder named test with photos of each class"
        )
    return (
        f"split_folders: all {sum(c.testing for c in unknown):,} test photos are of classes "
        f"without training photos ({_some([c.label for c in unknown])}), so the accuracy is not "
        "measured; name the class folders of the test folder like those of the training folder"
    )


def _share_lines(photos: pd.DataFrame, meaning: Layout, rule: SplitRule) -> Iterator[str]:
    """Yield which splits are far from their percentage, and why.

    Chance is that of a hash of its own for each photo. A hash that decides about many photos can
    cause larger differences.
    """
    expected = {
        split.VALIDATION: rule.validation_percentage / 100,
        split.TESTING: rule.testing_percentage / 100,
    }
    paths = manifest.unpacked(photos["path"])
    predefined = split.folder_split(paths) if meaning.split_folders else rule.predefined
    if predefined:  # the hash selects validation photos from the training photos, or nothing
        del expected[split.TESTING]
        if predefined.has_validation:
            return
    labels = photos["label"].to_list()
    hashed = pd.DataFrame(
        {
            "key": layout.hash_keys(meaning, paths, labels, [True] * len(paths)),
            "name": list(map(name_of, paths)),
        }
    )
    parts = photos["split"].reset_index(drop=True)
    if predefined:
        hashed, parts = hashed[parts != split.TESTING], parts[parts != split.TESTING]
    for part, probability in expected.items():
        share = float((parts == part).mean())
        difference = abs(share - probability)
        deviation = math.sqrt(probability * (1 - probability) / max(len(parts), 1))
        if difference > max(_CHANCE * deviation, _MATERIAL * probability):
            of = "training photos" if predefined else "photos"
            yield (
                f"{part} has {share:.1%} of the {of} instead of {probability:.0%}: "
                f"{_cause(hashed, rule)}"
            )


def _cause(hashed: pd.DataFrame, rule: SplitRule) -> str:
    """Return why the splits are far from the percentages, and what to do about it.

    Args:
        hashed: `key`, the text that is hashed, and `name` of each photo.
        rule: how the photos were split.
    """
    texts = hashed["key"].map(split.hashed_text)
    if texts.nunique() > len(texts) / 2:
        if rule.group_duplicates:
            return "identical files share a split; delete duplicates"
        return "the hashes of the file names happen to be uneven; change the percentages"
    in_folders = texts[hashed["key"] != hashed["name"]]
    if len(in_folders) > len(texts) / 2:
        return (
            f"the photos of one object stay together, and there are only {in_folders.nunique():,} "
            "different folders of objects; add objects, or pass a predefined split (split_file)"
        )
    return (
        f"photos of the same name stay together, and there are only {texts.nunique():,} different "
        "names; give the photos different names, or pass a predefined split (split_file)"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
