"""The split: whether a photo is for training, validation or testing."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import naming, places
from pipeline.photos.file_names import composed, without_photo_suffix

TRAINING = "training"
VALIDATION = "validation"
TESTING = "testing"
SPLITS = (TRAINING, VALIDATION, TESTING)

MAX_NUM_IMAGES_PER_CLASS = 2**27 - 1  # retrain.py's constant: the resolution of its percentages

LIST_NAMES = {  # names of lists and folders
    "train": TRAINING,
    "training": TRAINING,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TESTING,
    "testing": TESTING,
}


def part_of(folder: str) -> str | None:
    """Return the split that a folder is named after, as in `Train` or `test_set`, or None."""
    word = re.split(r"[^a-z]", folder.lower(), maxsplit=1)[0]
    return LIST_NAMES.get(word.removesuffix("set"))


@dataclass(frozen=True)
class PredefinedSplit:
    """A split that comes with the data set.

    Attributes:
        listed: maps `label/name`, as written in the lists but with composed accents, to its split.
        others: split of the photos that are on no list; None sets them aside.
        has_validation: whether there is a validation list; otherwise, validation photos are taken
            from the training list.
    """

    listed: Mapping[str, str]
    others: str | None
    has_validation: bool

    def split_of(self, path: str) -> str | None:
        """Return the split of the photo `label/name`; None sets it aside."""
        listed = self.listed.get(path) or self.listed.get(without_photo_suffix(path))
        return listed or self.others


@dataclass(frozen=True)
class FolderSplit:
    """A split that the first folder of each photo's path states.

    Attributes:
        has_validation: as in `PredefinedSplit`.
    """

    has_validation: bool

    def split_of(self, path: str) -> str | None:
        """Return the split of the photo `split/label/name`; None sets it aside."""
        return part_of(path.partition("/")[0])


@dataclass(frozen=True)
class SplitRule:
    """The rule of the split: by hash, or predefined by lists or folders.

    Attributes:
        validation_percentage: share of the photos for validation, 0 to 100.
        testing_percentage: share of the photos for testing, 0 to 100; ignored if predefined.
        predefined: the data set's own split, if any.
        group_duplicates: whether identical files share a split, whatever their names.
    """

    validation_percentage: float = 10
    testing_percentage: float = 10
    predefined: PredefinedSplit | FolderSplit | None = None
    group_duplicates: bool = False

    def __post_init__(self) -> None:
        percentages = (self.validation_percentage, self.testing_percentage)
        if not (min(percentages) >= 0 and sum(percentages) < 100):
            raise UserError(
                f"validation_percentage is {self.validation_percentage:g} and testing_percentage "
                f"is {self.testing_percentage:g}: neither may be negative, and together they must "
                "be below 100 to leave photos for training"
            )


def hash_percentage(key: str) -> float:
    """Hash a file name to a percentage from 0 to 100, by the rule of TensorFlow's retrain.py.

    Everything from `_nohash_` on is ignored, so that all versions of a photo (`a_nohash_1.jpg`,
    `a_nohash_2.jpg`) share a split. retrain.py hashed the full path; we hash only the file name,
    or the folder of an object (see `layout.hash_keys`), so that moving the image folder does not
    change the split.
    """
    sha1 = hashlib.sha1(hashed_text(key).encode(), usedforsecurity=False)
    number = int(sha1.hexdigest(), 16) % (MAX_NUM_IMAGES_PER_CLASS + 1)
    return number * (100.0 / MAX_NUM_IMAGES_PER_CLASS)


def hashed_text(key: str) -> str:
    """Return the part of a file name that `hash_percentage` hashes."""
    return re.sub(r"_nohash_.*$", "", key)


def assign(rule: SplitRule, path: str, key: str = "") -> str | None:
    """Return the split of a photo.

    Args:
        rule: how to split.
        path: `label/name`, relative to the image folder.
        key: text to hash; by default, the file name.

    Returns:
        `training`, `validation` or `testing`; None if a predefined split leaves the photo out.
    """
    percentage = hash_percentage(key or path.rsplit("/", 1)[-1])
    if rule.predefined is None:
        if percentage < rule.validation_percentage:
            return VALIDATION
        if percentage < rule.validation_percentage + rule.testing_percentage:
            return TESTING
        return TRAINING
    split = rule.predefined.split_of(path)
    may_validate = split == TRAINING and not rule.predefined.has_validation
    return VALIDATION if may_validate and percentage < rule.validation_percentage else split


def assign_all(
    rule: SplitRule, paths: Sequence[str], digests: Sequence[str], keys: Sequence[str] = ()
) -> list[str | None]:
    """Return the split of each photo, as `assign` does.

    With `group_duplicates`, identical files share a split: that of the one whose file name comes
    first in alphabetical order. A photo with `_nohash_` in its name, or whose folder is hashed,
    includes the other photos of the same object in its group.

    Args:
        rule: how to split.
        paths: `label/name` of each photo.
        digests: digest of each photo's content; an empty one matches nothing.
        keys: texts to hash; by default, the file names.
    """
    keys = keys or [path.rsplit("/", 1)[-1] for path in paths]
    splits = [assign(rule, path, key) for path, key in zip(paths, keys, strict=True)]
    if not rule.group_duplicates:
        return splits
    known = [digest if split else "" for split, digest in zip(splits, digests, strict=True)]
    groups = _groups(paths, known, keys)
    leaders: dict[int, int] = {}
    for i in sorted(range(len(paths)), key=lambda i: (paths[i].rsplit("/", 1)[-1], paths[i])):
        leaders.setdefault(groups[i], i)
    return [splits[leaders[group]] for group in groups]


def _groups(paths: Sequence[str], digests: Sequence[str], keys: Sequence[str]) -> list[int]:
    """Number the groups of photos that are connected by equal digests or by their object."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, (path, digest, key) in enumerate(zip(paths, digests, keys, strict=True)):
        if not digest:
            continue
        folder, _, name = path.rpartition("/")
        connections = [digest]
        if key != name:
            connections.append(f"{path.partition('/')[0]}/{hashed_text(key)}/")
        elif "_nohash_" in name:
            connections.append(f"{folder}/{hashed_text(name)}")
        pairs += [(first.setdefault(connection, i), i) for connection in connections]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    edges = coo_array(([True] * len(pairs), (rows, columns)), shape=(len(paths), len(paths)))
    groups: list[int] = connected_components(edges, directed=False)[1].tolist()
    return groups


def folder_split(paths: Iterable[str]) -> FolderSplit:
    """Return the split that the first folders of photos state.

    Args:
        paths: `split/label/name` of all photos.

    Raises:
        UserError: if there is no training folder.
    """
    folders = sorted({path.partition("/")[0] for path in paths})
    parts = {part_of(folder) for folder in folders}
    if TRAINING not in parts:
        raise UserError(
            f"split_folders: no photo is in a training folder, but only in "
            f"{', '.join(folders) or 'none'}; name the folders train, validation and test, with "
            "the class folders inside them"
        )
    return FolderSplit(VALIDATION in parts)


def list_files(split_file: str) -> list[Path]:
    """Return the list files of the option `split_file`: those in a folder, or separated by commas.

    Raises:
        UserError: if one does not exist, or its name does not tell which split it lists.
    """
    files: list[Path] = []
    for path in [places.local(p.strip()) for p in split_file.split(",") if p.strip()]:
        if path.is_dir():
            files += [p for p in sorted(path.glob("*.txt")) if p.stem.lower() in LIST_NAMES]
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"split_file: there is no file or folder {path}")
    unknown = [str(path) for path in files if path.stem.lower() not in LIST_NAMES]
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
    return naming.digest([(file.name, file.read_text("utf-8", "replace")) for file in files])


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
        split = LIST_NAMES[path.stem.lower()]
        try:
            lines = composed(path.read_text(encoding="utf-8-sig")).split("\n")
        except UnicodeDecodeError:
            raise UserError(f"split_file: {path} is not UTF-8 text; save it as UTF-8") from None
        except OSError as error:
            raise UserError(f"split_file: {path} cannot be read: {error.strerror}") from None
        for name in filter(None, (line.strip() for line in lines)):
            if listed.setdefault(name, split) != split:
                raise UserError(
                    f"split_file: {name} is on both the {listed[name]} and the {split} list; "
                    "remove it from one of them"
                )
    for name, split in listed.items():
        other = listed.get(without_photo_suffix(name), split)
        if other != split:
            raise UserError(
                f"split_file: {name} is on both the {split} and the {other} list; remove it from "
                "one of them"
            )
    if not listed:
        raise UserError(f"split_file: {split_file} lists no photos; write one label/name per line")
    splits = {LIST_NAMES[path.stem.lower()] for path in files}
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
    names = {*paths, *map(without_photo_suffix, paths)}
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
