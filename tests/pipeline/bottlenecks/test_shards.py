"""Shards: each missing vector in one list, each list computed once, the same rows in the end."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.bottlenecks import extraction, shards, writer
from pipeline.bottlenecks.extraction import Batch
from pipeline.bottlenecks.writer import Counts
from pipeline.errors import LostError, UserError
from pipeline.pixels.augmentation import Augmentation
from pipeline.progress import Progress, silent
from tests.support.photos import PhotoMaker, spoil
from tests.support.shards import divide, left
from tests.support.store import Store


def compute(store: Store, directory: Path) -> list[Counts]:
    return [
        shards.compute(directory, number, store.image_dir, store.recipe)
        for number in left(directory)
    ]


def test_photos_become_shards() -> None:
    assert shards.max_shards(0, Augmentation(), 10) == 0
    assert shards.max_shards(10, Augmentation(), 10) == 1
    assert shards.max_shards(11, Augmentation(), 10) == 2
    assert shards.max_shards(10, Augmentation(4, True), 10) == 5
    with pytest.raises(UserError, match="shard_size is 0; it must be 1 or more"):
        shards.max_shards(10, Augmentation(), 0)


def test_each_missing_vector_is_in_one_list(store: Store) -> None:
    shutil.copy(store.image_dir / "red_rose/0.jpg", store.image_dir / "green leaf/copy.jpg")
    directory = divide(store)
    lists = [pd.read_parquet(path) for path in sorted(shards.todo(directory).iterdir())]
    assert [len(of) for of in lists] == [10, 10, 10, 10, 8]
    assert pd.concat(lists)["key"].is_unique


def test_classes_take_their_rows_from_shards_and_compute_nothing(store: Store) -> None:
    store.run()
    whole = store.frame()
    shutil.rmtree(store.recipe.directory(store.path))
    directory = divide(store)
    assert compute(store, directory) == [Counts(computed=n) for n in (10, 10, 10, 10, 8)]
    assert not list(store.recipe.directory(store.path).glob("partial/*"))
    assert store.run() == Counts(reused=48)
    pd.testing.assert_frame_equal(store.frame(), whole)


def test_what_the_store_has_is_on_no_list(store: Store, make_photo: PhotoMaker) -> None:
    store.run()
    for seed in (100, 101, 102):
        make_photo(store.image_dir / "red_rose" / f"{seed}.jpg", 1, seed)
    directory = divide(store, 2)
    assert compute(store, directory) == [Counts(computed=2), Counts(computed=1)]
    assert store.run() == Counts(reused=51)


def test_a_shard_that_was_killed_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "BATCH", 8)
    directory = divide(store, 24)

    def interrupt(done: int, _total: int, _message: str) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.compute(directory, 0, store.image_dir, store.recipe, interrupt)
    assert not shards.file(directory, 0).exists()
    assert compute(store, directory) == [Counts(computed=8, reused=16), Counts(computed=24)]


def test_what_has_come_into_the_store_since_is_not_computed_again(store: Store) -> None:
    directory = divide(store)
    assert store.run() == Counts(computed=48)
    assert compute(store, directory) == [Counts(reused=n) for n in (10, 10, 10, 10, 8)]


def test_a_damaged_list_is_named_and_what_was_computed_is_kept(store: Store) -> None:
    directory = divide(store)
    shards.compute(directory, 0, store.image_dir, store.recipe)
    damaged = shards.file(shards.todo(directory), 1)
    os.truncate(damaged, damaged.stat().st_size // 2)
    with pytest.raises(LostError, match=f"{damaged} is damaged or missing; run again"):
        shards.compute(directory, 1, store.image_dir, store.recipe)
    assert not directory.exists()
    assert store.run() == Counts(computed=38, reused=10)


def test_a_damaged_shard_is_named_and_its_photos_are_computed_again(store: Store) -> None:
    directory = divide(store)
    compute(store, directory)
    damaged = shards.file(directory, 1)
    os.truncate(damaged, damaged.stat().st_size // 2)
    assert store.run() == Counts(computed=10, reused=38, damaged=[damaged])


def test_photos_that_cannot_be_decoded_are_set_aside_once(
    store: Store, make_photo: PhotoMaker
) -> None:
    spoil(make_photo(store.image_dir / "red_rose/0.png"))
    directory = divide(store, 100)
    (counts,) = compute(store, directory)
    assert counts.computed == 48
    assert counts.rejected.keys() == {"red_rose/0.png"}
    assert store.run() == Counts(reused=48, rejected=counts.rejected)
    assert left(divide(store, 50)) == []


def test_copies_are_divided_as_well(store: Store) -> None:
    store.recipe = replace(store.recipe, augmentation=Augmentation(2, True, random_crop=10))
    store.run()
    whole = store.frame()
    shutil.rmtree(store.recipe.directory(store.path))
    counts = compute(store, divide(store))
    assert sum(of.computed for of in counts) == len(whole) > 2 * 48
    assert store.run() == Counts(reused=len(whole))
    pd.testing.assert_frame_equal(store.frame(), whole)


def test_shards_go_when_all_classes_have_their_rows(store: Store) -> None:
    directory = divide(store)
    compute(store, directory)
    assert not any(directory.is_dir() for directory in store.directories())
    store.run()
    assert all(directory.is_dir() for directory in store.directories())
    shards.clear(directory)
    shards.clear(directory)
    assert list(directory.parent.iterdir()) == []
    assert store.run() == Counts(reused=48)
    whole = writer.class_directory(store.path, store.recipe, store.summary().classes[0])
    assert writer.is_complete(whole)


def backwards(paths: list[Path], *how: object) -> Iterator[Batch]:
    """An engine that gives the last photos first."""
    batches = list(extraction.extract(paths, *how))
    yield from reversed(batches)


def test_many_shards_at_once_in_any_order(
    store: Store, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "BATCH", 8)
    monkeypatch.setattr(shards, "JOURNAL_ROWS", 4)
    spoil(make_photo(store.image_dir / "red_rose/0.png"))
    store.run()
    whole = store.frame()
    shutil.rmtree(store.recipe.directory(store.path))
    directory = divide(store)
    counts = shards.compute_all(
        directory, left(directory), store.image_dir, store.recipe, backwards
    )
    assert (counts.computed, counts.reused, *counts.rejected) == (48, 0, "red_rose/0.png")
    assert left(directory) == []
    assert not list(store.recipe.directory(store.path).glob("partial/*"))
    assert store.run() == Counts(reused=48, rejected=counts.rejected)
    pd.testing.assert_frame_equal(store.frame(), whole)


def test_many_shards_go_on_after_a_kill(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "BATCH", 8)
    directory = divide(store)

    def interrupt(done: int, _total: int, _message: str) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    def compute(progress: Progress = silent) -> Counts:
        arguments = (store.image_dir, store.recipe, extraction.extract, progress)
        return shards.compute_all(directory, left(directory), *arguments)

    with pytest.raises(KeyboardInterrupt):
        compute(interrupt)
    assert left(directory) == [2, 3, 4]
    assert compute() == Counts(computed=24, reused=4)
