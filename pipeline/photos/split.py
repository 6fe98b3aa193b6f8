"""Which part of the data set a photo belongs to: training, validation or testing."""

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
class GivenSplit:
    """A split that comes with the data set.

    Attributes:
        listed: `label/name`, as the list wrote it -> split.
        others: split of the photos on no list; None sets them aside.
        has_validation: False where validation has yet to come out of training.
    """

    listed: Mapping[str, str]
    others: str | None
    has_validation: bool


@dataclass(frozen=True)
class SplitRule:
    """How to split: by the hash of the file name, or as the data set's own lists say.

    Attributes:
        validation_percentage: share of the photos for validation, 0 to 100.
        testing_percentage: share of the photos for testing, 0 to 100; a given split overrules it.
        given: the data set's own split, if any.
        group_duplicates: whether photos of equal content share a part, whatever their names.
    """

    validation_percentage: float = 10
    testing_percentage: float = 10
    given: GivenSplit | None = None
    group_duplicates: bool = False

    def __post_init__(self) -> None:
        percentages = (self.validation_percentage, self.testing_percentage)
        if not (min(percentages) >= 0 and sum(percentages) < 100):
            raise UserError(
                f"validation_percentage is {self.validation_percentage:g} and testing_percentage "
                f"is {self.testing_percentage:g}: neither may be negative, and together they must "
                "stay below 100 so that something is left for training"
            )


def hash_percentage(file_name: str) -> float:
    """Where a file name falls between 0 and 100, by the rule of TensorFlow's retrain.py.

    Whatever follows `_nohash_` is left out of the hash, so that all versions of one photo
    (`a_nohash_1.jpg`, `a_nohash_2.jpg`) fall into the same part. retrain.py hashed the whole
    path; we hash the file name alone, so that moving the folder moves no photo.
    """
    hashed = re.sub(r"_nohash_.*$", "", file_name)
    sha1 = hashlib.sha1(hashed.encode(), usedforsecurity=False)
    number = int(sha1.hexdigest(), 16) % (MAX_NUM_IMAGES_PER_CLASS + 1)
    return number * (100.0 / MAX_NUM_IMAGES_PER_CLASS)


def assign(rule: SplitRule, path: str) -> str | None:
    """The split of the photo at `path` (`label/name`, relative to the data set's folder).

    Returns:
        `training`, `validation` or `testing`; None where a given split leaves the photo out.
    """
    percentage = hash_percentage(path.rsplit("/", 1)[-1])
    if rule.given is None:
        if percentage < rule.validation_percentage:
            return VALIDATION
        if percentage < rule.validation_percentage + rule.testing_percentage:
            return TESTING
        return TRAINING
    listed = rule.given.listed
    split = listed.get(path) or listed.get(path.rpartition(".")[0]) or rule.given.others
    carve = split == TRAINING and not rule.given.has_validation
    return VALIDATION if carve and percentage < rule.validation_percentage else split


def assign_all(rule: SplitRule, paths: Sequence[str], digests: Sequence[str]) -> list[str | None]:
    """The split of each photo, as `assign`.

    With `group_duplicates`, photos of equal content share a part: that of the one whose file name
    comes first in the alphabet. A photo named `_nohash_` brings along the others of its thing.

    Args:
        rule: how to split.
        paths: `label/name` of each photo.
        digests: of each photo's content; empty where it does not matter.
    """
    splits = [assign(rule, path) for path in paths]
    if not rule.group_duplicates:
        return splits
    leaders = list(range(len(paths)))

    def leader(i: int) -> int:
        while leaders[i] != i:
            leaders[i] = leaders[leaders[i]]
            i = leaders[i]
        return i

    first: dict[str, int] = {}
    by_name = sorted(range(len(paths)), key=lambda i: (paths[i].rsplit("/", 1)[-1], paths[i]))
    place = {i: number for number, i in enumerate(by_name)}
    for i in by_name:
        if splits[i] is None or not digests[i]:
            continue
        folder, _, name = paths[i].rpartition("/")
        thing, separator, _ = name.partition("_nohash_")
        for key in (digests[i], f"{folder}/{thing}") if separator else (digests[i],):
            a, b = leader(i), leader(first.setdefault(key, i))
            leaders[max(a, b, key=place.__getitem__)] = min(a, b, key=place.__getitem__)
    return [splits[leader(i)] for i in range(len(paths))]


def list_files(split_file: str) -> list[Path]:
    """The list files that the option `split_file` names: a folder of them, or some with commas.

    Raises:
        UserError: where one does not exist, or its name does not tell which part it lists.
    """
    given = [Path(part.strip()).expanduser() for part in split_file.split(",") if part.strip()]
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += [p for p in sorted(path.glob("*.txt")) if p.stem.lower() in _LIST_NAMES]
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"split_file: there is no file or folder {path}")
    unknown = [str(path) for path in files if path.stem.lower() not in _LIST_NAMES]
    if unknown or not files:
        raise UserError(
            f"split_file: {', '.join(unknown) or split_file} holds no list that is known here; "
            "name the lists train.txt, validation.txt and test.txt, one label/name a line"
        )
    return files


def digest_lists(split_file: str) -> str:
    """Digest of the lists' names and contents.

    Raises:
        UserError: as `list_files`.
    """
    files = list_files(split_file)
    return naming.digest([(file.name, file.read_text(errors="replace")) for file in files])


def read_given(split_file: str) -> GivenSplit:
    """Read a given split, such as Food-101's `meta/train.txt` and `meta/test.txt`.

    Each line holds `label/name`, with or without the file's extension. With both training and
    test lists, photos on neither are set aside; with one of them, the rest goes to the other.

    Raises:
        UserError: for a missing, unreadable or contradictory list.
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
                raise UserError(f"split_file: {name} is on the {listed[name]} and the {split} list")
    for name, split in listed.items():
        other = listed.get(name.rpartition(".")[0], split)  # the same photo, without its extension
        if other != split:
            raise UserError(f"split_file: {name} is on the {split} and the {other} list")
    if not listed:
        raise UserError(f"split_file: {split_file} lists no photo; write one label/name a line")
    parts = {_LIST_NAMES[path.stem.lower()] for path in files}
    if not parts & {TRAINING, TESTING}:
        raise UserError(f"split_file: {split_file} has neither a training nor a testing list")
    others = None if {TRAINING, TESTING} <= parts else TESTING if TRAINING in parts else TRAINING
    return GivenSplit(listed, others, VALIDATION in parts)


def summary_lines(given: GivenSplit, paths: Collection[str]) -> Iterator[str]:
    """What a user should know of how a given split fits the photos: one line each.

    Args:
        given: the lists.
        paths: `label/name` of all photos.

    Raises:
        UserError: where no photo is on a list.
    """
    known = {path: path for path in paths} | {path.rpartition(".")[0]: path for path in paths}
    absent = [name for name in given.listed if name not in known]
    if len(absent) == len(given.listed):
        raise UserError(
            f"split_file: its lists name {absent[0]} and so on, but the photos are called "
            f"{next(iter(paths), 'nothing')} and so on; none fits"
        )
    if absent:
        yield (
            f"{len(absent):,} photos on the lists are not in the folder, such as {absent[0]}; "
            "is the data set complete?"
        )
    unlisted = len(paths) - (len(given.listed) - len(absent))
    if unlisted:
        fate = f"go to {given.others}" if given.others else "are set aside"
        yield f"{unlisted:,} photos are on no list of split_file and {fate}"
