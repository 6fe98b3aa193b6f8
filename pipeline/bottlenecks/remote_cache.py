"""Reuse of vectors that other machines have computed and a remote output store holds.

A class whose photos changed is a new result, but most of its vectors are in an older one. Of the
older results that are not on this machine, those of classes with the same label are searched
first, newest first, and of the others no more than there are photos without a vector: a search of
one costs about as much as a photo. It reads only the digests, from the middle of the files.
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
from pipeline.bottlenecks.cache import REJECTED, UNIFORM
from pipeline.bottlenecks.recipe import Recipe
from pipeline.files import naming
from pipeline.files.damage import UNREADABLE
from pipeline.files.output_store import OutputStore, RemoteOutputStore

_THREADS = 16  # results searched at a time; each search mostly waits for the network


def fetch_cached(
    store: OutputStore, directory: Path, rows: pd.DataFrame, recipe: Recipe, labels: Iterable[str]
) -> None:
    """Download the results that hold vectors this machine lacks; nothing from a local store.

    Also learn from other machines which photos cannot be decoded.

    Args:
        store: the output store.
        directory: local folder of the recipe's vectors.
        rows: the manifest's usable rows for which vectors are needed.
        recipe: how vectors are made.
        labels: the classes of these rows.

    Raises:
        OutageError: if the object store does not answer.
    """
    if not isinstance(store, RemoteOutputStore):
        return
    fetch_notes(store, directory)
    rejected = cache.read_notes(directory)
    wanted = cache.with_copies(rows, recipe)
    needed = set(wanted["key"][~cache.is_rejected(wanted, rejected)])
    for path in cache.files(directory):
        with suppress(*UNREADABLE):  # the step that computes deals with damaged files
            needed.difference_update(cache.read_keys(path))
        if not needed:
            return
    entries = store.entries(directory)
    names = [name for name, entry in entries.items() if entry.is_folder]
    names.sort(key=lambda name: entries[name].modified, reverse=True)
    remote_only = [directory / name for name in names if not (directory / name).exists()]
    slugs = {naming.slug(label) for label in labels}
    same_label = [path for path in remote_only if path.name.rpartition("-")[0] in slugs]
    useful = _take_useful(same_label, needed, store)
    searched = set(same_label)
    others = [path for path in remote_only if path not in searched]
    useful += _take_useful(others[: len(needed)], needed, store)
    store.fetch(useful)


def fetch_notes(store: OutputStore, directory: Path) -> None:
    """Learn what other machines have noted about photos: see `cache.read_notes`."""
    if isinstance(store, RemoteOutputStore):
        for name in (REJECTED, UNIFORM):
            cache.add_notes(directory, json.loads(store.read(directory / name) or b"{}"), name)


def share_notes(store: OutputStore, directory: Path) -> None:
    """Tell other machines what this one has noted about photos."""
    if not isinstance(store, RemoteOutputStore):
        return
    for name in (REJECTED, UNIFORM):
        if notes := cache.read_notes(directory, name):
            shared = json.loads(store.read(directory / name) or b"{}")
            store.write(directory / name, json.dumps(shared | notes, indent=2).encode())


def _take_useful(paths: list[Path], needed: set[str], store: RemoteOutputStore) -> list[Path]:
    """Return the results that hold needed vectors, and remove these from `needed`."""
    useful = []
    with ThreadPoolExecutor(_THREADS) as threads:
        keys_of_paths = threads.map(lambda path: _read_keys(path, store), paths)
        for path, keys in zip(paths, keys_of_paths, strict=True):
            if keys & needed:
                useful.append(path)
                needed -= keys
    return useful


def _read_keys(path: Path, store: RemoteOutputStore) -> set[str]:
    """Return the keys of a result in the object store; none if it was deleted or is damaged."""

    def keys_in(file: IO[bytes]) -> set[str]:
        try:
            return set(cache.read_keys(file))
        except pa.ArrowException:
            return set()

    keys = set[str]()
    for name in store.file_sizes(path):
        with suppress(FileNotFoundError):
            keys |= store.read_with(path / name, keys_in)
    return keys
