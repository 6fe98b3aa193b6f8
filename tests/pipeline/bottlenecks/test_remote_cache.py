"""Vectors of other machines, in an S3 server on loopback: only what is worth it is fetched."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.bottlenecks import cache, remote_cache, writer
from pipeline.files import output_store
from pipeline.files.output_store import RemoteOutputStore
from pipeline.photos import manifest
from pipeline.pixels.augmentation import Augmentation
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker
from tests.support.store import Store


class Machine:
    """Computes the bottlenecks of the same photos, in a mirror of the same store."""

    def __init__(self, store: Store, work_dir: Path) -> None:
        output_store.open_store.cache_clear()
        found = output_store.open_store(output_store.local_folder("s3://bucket/out", work_dir))
        assert found
        self.mirror: RemoteOutputStore = found
        self.store = replace(store, path=found.folder / "bottlenecks")
        self.store.path.mkdir()

    @property
    def directory(self) -> Path:
        return self.store.recipe.directory(self.store.path)

    def fetched(self) -> list[str]:
        """The labels of the classes that are worth fetching."""
        classes = self.store.summary().classes
        rows = manifest.read(self.store.path / "manifest.parquet")
        usable = rows[rows["status"] == "ok"]
        before = set(self.directory.glob("[!p]*"))
        labels = [of_class.label for of_class in classes]
        remote_cache.fetch_cached(self.mirror, self.directory, usable, self.store.recipe, labels)
        return sorted(
            path.name.rpartition("-")[0] for path in set(self.directory.glob("[!p]*")) - before
        )

    def work(self) -> writer.Counts:
        counts = self.store.run()
        self.mirror.upload(
            [d for d in self.store.directories() if not self.mirror.has(d) and d.is_dir()]
        )
        return counts


@pytest.fixture
def machine(store: Store, objects: Objects, tmp_path: Path) -> Callable[[], Machine]:  # noqa: ARG001
    count = iter(range(9))
    return lambda: Machine(store, tmp_path / f"machine {next(count)}")


def test_only_what_nobody_has_is_computed(
    machine: Callable[[], Machine], photo_dir: Path, make_photo: PhotoMaker
) -> None:
    machine().work()
    make_photo(photo_dir / "red_rose/new.jpg", 2, 99)
    there = machine()
    assert there.fetched() == ["green_leaf", "red_rose"]
    counts = there.work()
    assert (counts.computed, counts.reused) == (1, 48)
    # Equal to what one machine alone computes.
    alone = machine()
    assert alone.work().computed == 49
    pd.testing.assert_frame_equal(there.store.frame(), alone.store.frame())


def test_what_is_here_is_not_looked_for(machine: Callable[[], Machine], objects: Objects) -> None:
    here = machine()
    here.work()
    objects.requests.clear()
    assert here.fetched() == []
    names = [request.rpartition("/")[2] for request in objects.requests]
    assert names == ["rejected.json", "uniform.json"]


def test_a_photo_that_moved_is_looked_for_in_no_more_classes_than_it_saves(
    machine: Callable[[], Machine], photo_dir: Path, make_photo: PhotoMaker, objects: Objects
) -> None:
    for label in range(6):
        for seed in range(3):
            make_photo(photo_dir / f"more {label}" / f"{seed}.jpg", 2, 10 * label + seed)
    machine().work()
    for label in range(6):
        shutil.rmtree(photo_dir / f"more {label}")
    make_photo(photo_dir / "red_rose/new.jpg", 2, 9999)
    make_photo(photo_dir / "red_rose/new too.jpg", 2, 9998)
    objects.requests.clear()
    assert machine().fetched() == ["green_leaf", "red_rose"]
    looked = {request.split("/")[-2] for request in objects.requests if "more" in request}
    assert len({name for name in looked if name.startswith("more")}) == 2
    (photo_dir / "red_rose/0.jpg").rename(photo_dir / "green leaf/moved.jpg")
    assert machine().work().computed == 50  # nothing was fetched for it
    there = machine()
    there.fetched()
    assert there.work().computed == 0


def test_copies_are_fetched_if_they_are_made_the_same_way(
    store: Store, machine: Callable[[], Machine]
) -> None:
    copied = Augmentation(augmentations=2, flip_left_right=True)
    store.recipe = replace(store.recipe, augmentation=copied)
    training = machine().work().computed - 48
    assert training > 0
    same = machine()
    same.fetched()
    assert same.work().computed == 0
    store.recipe = replace(store.recipe, augmentation=replace(copied, random_crop=10))
    other = machine()
    assert other.fetched() == ["green_leaf", "red_rose"]  # for the photos themselves
    assert other.work().computed == training


def test_a_damaged_class_in_the_store_is_passed_over(
    machine: Callable[[], Machine], objects: Objects
) -> None:
    here = machine()
    here.work()
    (of_red,) = here.directory.glob("red_rose-*")
    key = (of_red / "part-00000.parquet").relative_to(here.mirror.folder)
    objects.put(f"out/{key}", b"PAR1 is no Parquet file PAR1")
    assert machine().fetched() == ["green_leaf"]


def test_photos_that_cannot_be_decoded_are_told(machine: Callable[[], Machine]) -> None:
    here, there, third = machine(), machine(), machine()
    cache.add_notes(here.directory, {"1": "bad"})
    remote_cache.share_notes(here.mirror, here.directory)
    cache.add_notes(there.directory, {"2": "worse"})
    assert there.fetched() == []
    remote_cache.share_notes(there.mirror, there.directory)
    third.fetched()
    assert cache.read_notes(third.directory) == {"1": "bad", "2": "worse"}
