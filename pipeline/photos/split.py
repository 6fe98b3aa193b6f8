"""The split: whether a photo is for training, validation or testing."""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import naming

TRAINING = "training"
VALIDATION = "validation"
TESTING = "testing"
SPLITS = (TRAINING, VALIDATION, TESTING)

MAX_NUM_IMAGES_PER_CLASS = 2**27 - 1  # retrain.py's constant: the resolution of its percentages

_LIST_NAMES = {
    "train": TRAINING,
    "training": TRAINING,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TESTING,
    "testing": TESTING,
}


@dataclass(frozen=True)
class PredefinedSplit:
    """A split that comes with the data set.

    Attributes:
        listed: maps `label/name`, as written in the lists, to its split.
        others: split of the photos that are on no list; None sets them aside.
        has_validation: whether there is a validation list; otherwise, validation photos are taken
            from the training list.
    """

    listed: Mapping[str, str]
    others: str | None
    has_validation: bool


@dataclass(frozen=True)
class SplitRule:
    """The rule of the split: by the hash of the file name, or by predefined lists.

    Attributes:
        validation_percentage: share of the photos for validation, 0 to 100.
        testing_percentage: share of the photos for testing, 0 to 100; ignored with lists.
        predefined: the data set's own split, if any.
        group_duplicates: whether identical files share a split, whatever their names.
    """

    validation_percentage: float = 10
    testing_percentage: float = 10
    predefined: PredefinedSplit | None = None
    group_duplicates: bool = False

    def __post_init__(self) -> None:
        percentages = (self.validation_percentage, self.testing_percentage)
        if not (min(percentages) >= 0 and sum(percentages) < 100):
            raise UserError(
                f"validation_percentage is {self.validation_percentage:g} and testing_percentage "
                f"is {self.testing_percentage:g}: neither may be negative, and together they must "
                "be below 100 to leave photos for training"
            )


def hash_percentage(file_name: str) -> float:
    """Hash a file name to a percentage from 0 to 100, by the rule of TensorFlow's retrain.py.

    Everything from `_nohash_` on is ignored, so that all versions of a photo (`a_nohash_1.jpg`,
    `a_nohash_2.jpg`) share a split. retrain.py hashed the full path; we hash only the file name,
    so that moving the folder does not change the split.
    """
    hashed = re.sub(r"_nohash_.*$", "", file_name)
    sha1 = hashlib.sha1(hashed.encode(), usedforsecurity=False)
    number = int(sha1.hexdigest(), 16) % (MAX_NUM_IMAGES_PER_CLASS + 1)
    return number * (100.0 / MAX_NUM_IMAGES_PER_CLASS)


def assign(rule: SplitRule, path: str) -> str | None:
    """Return the split of a photo.

    Args:
        rule: how to split.
        path: `label/name`, relative to the image folder.

    Returns:
        `training`, `validation` or `testing`; None if a predefined split leaves the photo out.
    """
    percentage = hash_percentage(path.rsplit("/", 1)[-1])
    if rule.predefined is None:
        if percentage < rule.validation_percentage:
            return VALIDATION
        if percentage < rule.validation_percentage + rule.testing_percentage:
            return TESTING
        return TRAINING
    listed = rule.predefined.listed
    split = listed.get(path) or listed.get(path.rpartition(".")[0]) or rule.predefined.others
    may_validate = split == TRAINING and not rule.predefined.has_validation
    return VALIDATION if may_validate and percentage < rule.validation_percentage else split


def assign_all(rule: SplitRule, paths: Sequence[str], digests: Sequence[str]) -> list[str | None]:
    """Return the split of each photo, as `assign` does.

    With `group_duplicates`, identical files share a split: that of the one whose file name comes
    first in alphabetical order. A photo with `_nohash_` in its name includes the other photos of
    the same object in its group.

    Args:
        rule: how to split.
        paths: `label/name` of each photo.
        digests: digest of each photo's content; an empty one matches nothing.
    """
    splits = [assign(rule, path) for path in paths]
    if not rule.group_duplicates:
        return splits
    groups = _groups(paths, [d if s else "" for s, d in zip(splits, digests, strict=True)])
    leaders: dict[int, int] = {}
    for i in sorted(range(len(paths)), key=lambda i: (paths[i].rsplit("/", 1)[-1], paths[i])):
        leaders.setdefault(groups[i], i)
    return [splits[leaders[group]] for group in groups]


def _groups(paths: Sequence[str], digests: Sequence[str]) -> list[int]:
    """Number the groups of photos that are connected by equal digests or `_nohash_` names."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, (path, digest) in enumerate(zip(paths, digests, strict=True)):
        if not digest:
            continue
        folder, _, name = path.rpartition("/")
        photographed, separator, _ = name.partition("_nohash_")
        keys = (digest, f"{folder}/{photographed}") if separator else (digest,)
        pairs += [(first.setdefault(key, i), i) for key in keys]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    edges = coo_array(([True] * len(pairs), (rows, columns)), shape=(len(paths), len(paths)))
    groups: list[int] = connected_components(edges, directed=False)[1].tolist()
    return groups


def list_files(split_file: str) -> list[Path]:
    """Return the list files of the option `split_file`: those in a folder, or separated by commas.

    Raises:
        UserError: if one does not exist, or its name does not tell which split it lists.
    """
    files: list[Path] = []
    for path in [Path(p.strip()).expanduser() for p in split_file.split(",") if p.strip()]:
        if path.is_dir():
            files += [p for p in sorted(path.glob("*.txt")) if p.stem.lower() in _LIST_NAMES]
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"split_file: there is no file or folder {path}")
    unknown = [str(path) for path in files if path.stem.lower() not in _LIST_NAMES]
    if unknown or not files:
        raise UserError(
            f"split_file: no split is named like {', '.join(unknown) or split_file}; name the "
            "lists train.txt, validation.txt and test.txt, with one label/name per line"
        )
    return files


def digest_lists(split_file: str) -> str:
    """Return a digest of the lists' names and contents.

    Raises:
        UserError: as `list_files`.
    """
    files = list_files(split_file)
    return naming.digest([(file.name, file.read_text(errors="replace")) for file in files])


def read_predefined(split_file: str) -> PredefinedSplit:
    """Read a predefined split, such as Food-101's `meta/train.txt` and `meta/test.txt`.

    Each line is `label/name`, with or without the file's extension. If there are both training and
    test lists, photos on neither are set aside; if there is only one, all other photos belong to
    the other split.

    Raises:
        UserError: if a list is missing, unreadable or contradictory.
    """
    files = list_files(split_file)
    listed: dict[str, str] = {}
    for path in files:
        split = _LIST_NAMES[path.stem.lower()]
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"split_file: {path} cannot be read as UTF-8 text: {error}") from None
        for name in filter(None, (line.strip() for line in lines)):
            if listed.setdefault(name, split) != split:
                raise UserError(
                    f"split_file: {name} is on both the {listed[name]} and the {split} list; "
                    "remove it from one of them"
                )
    for name, split in listed.items():
        other = listed.get(name.rpartition(".")[0], split)  # the same photo, without its extension
        if other != split:
            raise UserError(
                f"split_file: {name} is on both the {split} and the {other} list; remove it from "
                "one of them"
            )
    if not listed:
        raise UserError(f"split_file: {split_file} lists no photos; write one label/name per line")
    splits = {_LIST_NAMES[path.stem.lower()] for path in files}
    if not splits & {TRAINING, TESTING}:
        raise UserError(
            f"split_file: {split_file} has neither a training nor a test list; add train.txt or "
            "test.txt"
        )
    others = None if {TRAINING, TESTING} <= splits else TESTING if TRAINING in splits else TRAINING
    return PredefinedSplit(listed, others, VALIDATION in splits)


def summary_lines(predefined: PredefinedSplit, paths: Collection[str]) -> Iterator[str]:
    """Yield how a predefined split matches the photos, one line each.

    Args:
        predefined: the lists.
        paths: `label/name` of all photos.

    Raises:
        UserError: if no photo is on a list.
    """
    names = {*paths, *(path.rpartition(".")[0] for path in paths)}
    absent = [name for name in predefined.listed if name not in names]
    if len(absent) == len(predefined.listed):
        raise UserError(
            f"split_file: no photo is on a list: the lists contain names such as {absent[0]}, the "
            f"folder contains photos such as {next(iter(paths), 'none')}; make the names match"
        )
    if absent:
        yield (
            f"{len(absent):,} photos on the lists are not in the folder, such as {absent[0]}; "
            "is the data set complete?"
        )
    unlisted = len(paths) - (len(predefined.listed) - len(absent))
    if unlisted:
        fate = f"are used for {predefined.others}" if predefined.others else "are set aside"
        yield f"{unlisted:,} photos are on no list of split_file and {fate}"
