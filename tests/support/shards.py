"""Shards of the vectors that a store lacks."""

from pathlib import Path

from pipeline.bottlenecks import shards
from pipeline.photos import manifest
from tests.support.store import Store

SIZE = 10


def divide(store: Store, shard_size: int = SIZE) -> Path:
    """Divide what the store lacks; the shards' folder."""
    store.summary()
    rows = manifest.read(store.path / "manifest.parquet")
    usable = rows[rows["status"] == "ok"]
    directory = shards.directory(store.path, store.recipe, "manifest", shard_size)
    shards.divide(usable, store.recipe, store.path, directory, shard_size)
    return directory


def left(directory: Path) -> list[int]:
    """The numbers of the shards that are not done."""
    lists = sorted(shards.todo(directory).glob("*.parquet"))
    return [int(listed.stem) for listed in lists if not (directory / listed.name).exists()]
