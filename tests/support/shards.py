"""Shards of the missing vectors of a Store."""

from pathlib import Path

from pipeline.bottlenecks import shards
from pipeline.photos import manifest
from tests.support.store import Store

SIZE = 10


def divide(store: Store, shard_size: int = SIZE) -> Path:
    """Divide the missing vectors into shards, and return the folder of the shards."""
    store.summary()
    rows = manifest.read(store.path / "manifest.parquet")
    usable = rows[rows["status"] == "ok"]
    directory = shards.directory(store.path, store.recipe, "manifest", shard_size)
    shards.divide(usable, store.recipe, store.path, directory, shard_size)
    return directory


def left(directory: Path) -> list[int]:
    """Return the numbers of the unfinished shards."""
    lists = sorted(shards.todo(directory).glob("*.parquet"))
    return [int(listed.stem) for listed in lists if not (directory / listed.name).exists()]
