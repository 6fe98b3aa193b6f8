"""The layout: what the folders of an image folder mean."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.errors import UserError, lost_quotes
from pipeline.files import naming
from pipeline.photos import split
from pipeline.photos.file_names import composed


@dataclass(frozen=True)
class Layout:
    """What the folders of an image folder mean.

    Attributes:
        split_folders: whether the first folder is the photo's split and the second one its class;
            otherwise, the first one is the class.
        merge_labels: pairs of a label, and the label to use in its place.
    """

    split_folders: bool = False
    merge_labels: tuple[tuple[str, str], ...] = ()

    @property
    def depth(self) -> int:
        """Number of folders down to that of the class."""
        return 2 if self.split_folders else 1

    @property
    def key(self) -> str:
        """Digest of everything that determines the labels."""
        return naming.digest(self.split_folders, self.merge_labels)

    @cached_property
    def _replacements(self) -> dict[str, str]:
        return dict(self.merge_labels)

    def merged(self, label: str) -> str:
        """Return the label to use in place of a label, with composed accents."""
        label = composed(label)
        return self._replacements.get(label, label)

    def label(self, path: str) -> str:
        """Return the label in the path of an unpacked photo; empty if it has no class folder."""
        folders = path.split("/")[:-1]
        return self.merged(folders[self.depth - 1]) if len(folders) >= self.depth else ""


PLAIN = Layout()  # one folder per class


def parse_merge_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Parse the option `merge_labels`: JSON such as {"livingroom": "livingRoom"}, or empty.

    Raises:
        UserError: if it is not a table of labels, or merges a label into one that is merged itself.
    """
    try:
        table = json.loads(text or "{}").items()
        named = {composed(old): composed(new) for old, new in table}
        pairs = tuple(sorted((old, new) for old, new in named.items() if old != new))
        valid = all(isinstance(new, str) and new.splitlines() == [new] for _, new in pairs)
    except (ValueError, TypeError, AttributeError, RecursionError):
        pairs, valid = (), False
    if not valid:
        raise UserError(
            f"merge_labels is {text}; it must map labels to the labels to use instead, as in "
            '{"livingroom": "livingRoom"}' + lost_quotes(text)
        )
    for old, new in pairs:
        if new in dict(pairs):
            raise UserError(
                f"merge_labels maps {old!r} to {new!r}, which it also replaces; map both to the "
                "same label"
            )
    return pairs


def refuse_unknown(
    layout: Layout, image_dir: object, parts: Collection[str], labels: Collection[str]
) -> None:
    """Check that all folders of splits are known, and that the labels to merge exist.

    Args:
        layout: what the folders mean.
        image_dir: the image folder, for the message.
        parts: the names of the folders of splits.
        labels: the names of the class folders, with composed accents.

    Raises:
        UserError: if one is not.
    """
    for folder in parts:
        if split.part_of(folder) is None:
            raise UserError(
                f"split_folders: the folder {folder!r} in {image_dir} is not named like a split; "
                "name the folders train, validation and test, and move others elsewhere"
            )
    for old, _ in layout.merge_labels:
        if old not in labels:
            raise UserError(
                f"merge_labels replaces {old!r}, which is not the name of a class folder; correct "
                "or remove it"
            )


def refuse_split_folders(
    image_dir: object, labels: Sequence[str], paths: Iterable[str] = ()
) -> None:
    """Check that the folders are those of classes, and not those of a split.

    Args:
        image_dir: the image folder, for the message.
        labels: the names of the folders.
        paths: the unpacked paths of the photos.

    Raises:
        UserError: if the folders are named like splits, or if they contain only folders of the
            same names. Subfolders with numbers in their names may be years or objects, and some
            subfolders in many class folders may be views: these are not refused.
    """
    parts = {split.part_of(label) for label in labels}
    exact = {
        split.LIST_NAMES[label.lower()] for label in labels if label.lower() in split.LIST_NAMES
    }
    if labels and (None not in parts or len(exact) > 1):
        raise UserError(
            f"image_dir: the folders in {image_dir} are named like the splits of a data set "
            f"({_some(labels)}), not like classes; pass --split-folders to use this split, with "
            "the class folders inside these folders, or set image_dir to one of them"
        )
    shared = _shared_subfolders(paths)
    numbered = len({re.sub(r"\d+", "", label) for label in labels}) == 1
    if len(labels) > 1 and (len(shared) >= len(labels) or (shared and numbered)):
        raise UserError(
            f"image_dir: the folders {_some(labels)} all contain the folders {_some(shared)}, "
            "which seem to be the classes; if so, name the outer folders train, validation and "
            "test and pass --split-folders, or set image_dir to one of them; if not, give the "
            "inner folders different names in each class"
        )


def _shared_subfolders(paths: Iterable[str]) -> list[str]:
    """Return the names of the subfolders that all first folders share, if they are most of them.

    Empty if there are photos outside subfolders, or if there are numbers in the names.
    """
    subfolders: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        folder, _, rest = path.partition("/")
        subfolder, separator, _ = rest.partition("/")
        if not separator or re.search(r"\d", subfolder):
            return []
        subfolders[folder].add(subfolder)
    sets = list(subfolders.values())
    shared = set[str]().union(*sets).intersection(*sets)
    enough = len(shared) >= 2 and len(set[str]().union(*sets)) <= 2 * len(shared)
    return sorted(shared) if enough else []


def hash_keys(
    layout: Layout, paths: Sequence[str], labels: Sequence[str], usable: Sequence[bool]
) -> list[str]:
    """Return the texts whose hashes split the photos: the name of the file, or of a folder.

    If the same file names repeat in different folders of a class, as in `item_1/front.jpg` and
    `item_2/front.jpg`, each of these folders is one object. Its path below the class folder is
    hashed, so that all of its photos share a split. If the folders contain folders, objects are
    the highest ones in which the same paths repeat. Photos outside such folders, and photos of
    other classes, are hashed by file name.

    Args:
        layout: what the folders mean.
        paths: the unpacked paths of the photos.
        labels: their labels.
        usable: whether they are photos; the names of other files do not matter.
    """
    keys = [path.rsplit("/", 1)[-1] for path in paths]
    nested: dict[str, list[tuple[int, list[str]]]] = defaultdict(list)
    for i, (path, label) in enumerate(zip(paths, labels, strict=True)):
        if path.count("/") < layout.depth or not usable[i]:
            continue
        *folders, name = path.split("/")
        # If a label file in a tar file states the label, no folder is that of the class.
        start = layout.depth if layout.label(path) == label else layout.depth - 1
        if folders[start:]:
            nested[label].append((i, [*folders[start:], name]))
    for photos in nested.values():
        level = _object_level([parts for _, parts in photos])
        for i, parts in photos if level else ():
            keys[i] = "/".join(parts[:-1][:level])
    return keys


def _object_level(photos: list[list[str]]) -> int:
    """Return the number of folders in the path of an object; 0 if no file names repeat.

    Args:
        photos: the folders below the class folder, and the file name, of each photo.
    """
    for level in range(1, max(map(len, photos))):
        folder_of: dict[tuple[str, ...], list[str]] = {}
        for parts in photos:
            folder = parts[:-1][:level]
            if folder_of.setdefault(tuple(parts[len(folder) :]), folder) != folder:
                return level
    return 0


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
