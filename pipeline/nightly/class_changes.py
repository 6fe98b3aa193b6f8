"""Class changes: renamed, merged and split classes, recognized by the digests of their photos."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

LEFT = 0.5  # share of a class's photos that must still exist; otherwise it was removed
PART = 0.2  # share of these that makes another class a part of the class; fewer are corrections


@dataclass(frozen=True)
class ClassChange:
    """Photos of one or more classes that are in other classes now.

    Attributes:
        labels: the earlier classes: several if they were merged.
        into: the classes that contain their photos now: several if one class was split.
        joined: whether the photos joined those that `into` had already.
        moved: number of these photos in each class of `into`.
        count: number of photos that the earlier classes had.
    """

    labels: tuple[str, ...]
    into: tuple[str, ...]
    joined: bool
    moved: tuple[int, ...]
    count: int

    def __str__(self) -> str:
        shown = _name_apart if _look_alike(*self.labels, *self.into) else str
        labels, into = (_join(map(shown, names)) for names in (self.labels, self.into))
        several = len(self.labels) > 1
        subject = f"classes {labels} were" if several else f"class {labels} was"
        verb = "split" if len(self.into) > 1 else "merged" if several or self.joined else "renamed"
        moved = _join(f"{number:,}" for number in self.moved)
        of = f"{moved} of {'their' if several else 'its'} {self.count:,} photos"
        return f"{subject} {verb} {'to' if verb == 'renamed' else 'into'} {into} ({of})"


def find(before: pd.DataFrame, after: pd.DataFrame) -> list[ClassChange]:
    """Find the classes whose photos are in other classes now.

    Args:
        before, after: digest and label of all photos.

    Returns:
        Changes sorted by their first class; each class of `before` is in one at most.
    """
    sizes = before.drop_duplicates(["digest", "label"]).groupby("label").size().to_dict()
    targets = _targets(before, after)
    changes, sources = list[ClassChange](), dict[str, list[str]]()
    for label, parts in targets.items():
        into = tuple(sorted(parts))
        if len(into) > 1:
            moved = tuple(parts[name] for name in into)
            changes.append(ClassChange((label,), into, False, moved, sizes[label]))
        elif into != (label,):
            sources.setdefault(into[0], []).append(label)
    for target, labels in sources.items():
        joined = target in targets.get(target, {})
        moved = (sum(targets[label][target] for label in labels),)
        count = sum(sizes[label] for label in labels)
        changes.append(ClassChange(tuple(sorted(labels)), (target,), joined, moved, count))
    return sorted(changes, key=lambda change: change.labels)


def _targets(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the classes that contain the photos of each earlier class now, with their numbers.

    Classes of which most photos do not exist any more are left out.
    """
    columns = ["digest", "label"]
    earlier, now = (rows[columns].drop_duplicates() for rows in (before, after))
    pairs = earlier.merge(now, on="digest", suffixes=("", "_now"))
    numbers = pairs.groupby(["label", "label_now"]).size().reset_index(name="moved")
    found = numbers.groupby("label")["moved"].transform("sum")
    sizes = numbers["label"].map(earlier.groupby("label").size())
    parts = numbers[(found >= LEFT * sizes) & (numbers["moved"] >= PART * found)]
    targets: dict[str, dict[str, int]] = {}
    for label, label_now, moved in parts.itertuples(index=False):
        targets.setdefault(label, {})[label_now] = int(moved)
    return targets


def _look_alike(*labels: str) -> bool:
    """Return whether some labels differ only in the encoding of accents, or in spaces around."""
    return len({unicodedata.normalize("NFC", label).strip() for label in labels}) < len({*labels})


def _name_apart(label: str) -> str:
    return ascii(label)


def _join(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last
