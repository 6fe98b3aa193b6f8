"""Vectors that other machines have computed, and an object store keeps: which of them to fetch.

A class whose photos have changed is a new result, but most of its vectors stand in an old one. Of
the old ones that this machine has not, those of classes with the same label are looked at first,
the newest first, and of the others no more than there are photos without a vector: a look costs
about as much as a photo. A look reads the digests alone, out of the middle of the files.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa

from pipeline.bottlenecks import cache
from pipeline.bottlenecks.cache import REJECTED
from pipeline.bottlenecks.recipe import Recipe
from pipeline.files import naming
from pipeline.files.damage import UNREADABLE
from pipeline.files.output_store import Mirror

_THREADS = 16  # looks at a time: each mostly waits


def fetch_cached(
    store: Mirror, directory: Path, rows: pd.DataFrame, recipe: Recipe, labels: Iterable[str]
) -> None:
    """Bring the finished classes that hold vectors which this machine lacks into its mirror.

    With them comes what other machines know of photos that cannot be decoded.

    Args:
        store: that the output folder is on.
        directory: of the recipe's vectors, in the mirror.
        rows: the manifest's usable rows for which vectors are needed.
        recipe: how they are made.
        labels: of the classes that they are in.

    Raises:
        OutageError: where the store does not answer.
    """
    cache.add_rejected(directory, json.loads(store.read(directory / REJECTED) or b"{}"))
    rejected = cache.read_rejected(directory)
    readable = rows[~rows["digest"].isin(rejected)]
    needed = set(cache.with_copies(readable, recipe)["key"])
    for path in cache.files(directory):
        with suppress(*UNREADABLE):  # whoever computes does something about it
            needed.difference_update(cache.read_keys(path))
        if not needed:
            return
    entries = store.entries(directory)
    found = [name for name, entry in entries.items() if entry.is_folder]
    found.sort(key=lambda name: entries[name].modified, reverse=True)
    elsewhere = [directory / name for name in found if not (directory / name).exists()]
    slugs = {naming.slug(label) for label in labels}
    alike = [path for path in elsewhere if path.name.rpartition("-")[0] in slugs]
    useful = _useful(alike, needed, store)
    looked = set(alike)
    others = [path for path in elsewhere if path not in looked]
    useful += _useful(others[: len(needed)], needed, store)
    store.fetch(useful)


def _useful(paths: list[Path], needed: set[str], store: Mirror) -> list[Path]:
    """Which of some finished classes hold needed vectors; these are taken out of `needed`."""
    useful = []
    with ThreadPoolExecutor(_THREADS) as threads:
        looks = threads.map(lambda path: _look(path, store), paths)
        for path, held in zip(paths, looks, strict=True):
            if held & needed:
                useful.append(path)
                needed -= held
    return useful


def share_rejected(store: Mirror, directory: Path) -> None:
    """Tell the others which photos this machine could not decode."""
    ours = cache.read_rejected(directory)
    if ours:
        theirs = json.loads(store.read(directory / REJECTED) or b"{}")
        store.write(directory / REJECTED, json.dumps(theirs | ours, indent=2).encode())


def _look(path: Path, store: Mirror) -> set[str]:
    """The keys of a finished class in the store; none where it was deleted or is damaged."""

    def held(file: IO[bytes]) -> set[str]:
        try:
            return set(cache.read_keys(file))
        except pa.ArrowException:
            return set()

    found = set[str]()
    for name in store.parts(path):
        with suppress(FileNotFoundError):
            found |= store.look(path / name, held)
    return found
