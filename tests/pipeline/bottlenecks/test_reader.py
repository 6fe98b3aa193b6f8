"""Reading finished bottlenecks: by split, whole or in batches, and never a damaged file."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks import cache, reader
from pipeline.bottlenecks.reader import to_float32
from pipeline.bottlenecks.writer import Counts
from pipeline.errors import LostError, UserError
from pipeline.pixels.augmentation import Augmentation
from tests.support.store import Store


def test_a_part_is_one_split_of_all_classes(store: Store) -> None:
    store.run()
    read = store.rows("validation")
    expected = store.frame().query("split == 'validation'")
    assert read.paths == expected["path"].to_list()
    assert read.digests == expected["digest"].to_list()
    assert read.labels.tolist() == expected["label"].to_list()
    assert read.vectors.dtype == np.float32
    assert np.array_equal(read.vectors, np.stack(expected["vector"].to_list()))


def test_batches_are_the_same_rows_in_the_same_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "GROUP_ROWS", 5)
    store.run()
    whole = store.rows("training")
    parts = list(store.part("training").labelled())
    assert len(parts) > 4
    assert max(len(vectors) for vectors, _ in parts) <= 5
    assert np.array_equal(np.concatenate([vectors for vectors, _ in parts]), whole.vectors)
    assert [label for _, labels in parts for label in labels] == whole.labels.tolist()


def test_labelled_vectors_are_the_same_rows_as_they_are_stored(store: Store) -> None:
    store.run()
    whole = store.rows("training")
    vectors, labels = zip(*store.part("training").labelled(), strict=True)
    assert {part.dtype for part in vectors} == {np.dtype(np.float16)}
    assert np.array_equal(np.concatenate(vectors), whole.vectors)
    assert np.concatenate(labels).tolist() == whole.labels.tolist()


def test_texts_are_those_of_the_same_photos(store: Store) -> None:
    store.run()
    texts, whole = store.part("training").texts(), store.rows("training")
    assert texts["label"].to_list() == whole.labels.tolist()
    assert texts["path"].to_list() == whole.paths
    assert texts["digest"].to_list() == whole.digests


def test_the_photos_of_the_lowest_digests_are_drawn_from_all_batches(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "GROUP_ROWS", 5)
    store.run()
    drawn, whole = (
        reader.sample_by_digest(store.part("training").batches(), 7),
        store.rows("training"),
    )
    assert drawn is not None
    assert sorted(drawn.digests) == sorted(whole.digests)[:7]
    for digest, path, vector in zip(drawn.digests, drawn.paths, drawn.vectors, strict=True):
        position = whole.digests.index(digest)
        assert whole.paths[position] == path
        assert np.array_equal(whole.vectors[position], vector)
    assert reader.sample_by_digest(iter(()), 7) is None


def test_a_split_without_photos_is_read_as_no_rows(store: Store) -> None:
    store.run()
    nothing = store.part("no such split")
    assert list(nothing.batches()) == []
    assert list(nothing.labelled()) == []
    assert list(nothing.texts()) == ["label", "path", "digest"]
    assert nothing.texts().empty


def test_copies_are_read_where_they_are_wanted(store: Store) -> None:
    store.recipe = replace(store.recipe, augmentation=Augmentation(1, random_brightness=50))
    store.run()
    photos = store.rows("training")
    both = list(store.part("training").labelled(copies=True))
    vectors = np.concatenate([vectors for vectors, _ in both])
    assert len(vectors) == 2 * len(photos.paths)
    assert np.array_equal(vectors[::2].astype(np.float32), photos.vectors)


def test_rows_of_some_labels_keep_what_belongs_together(store: Store) -> None:
    store.run()
    of = store.rows("training").with_labels(("red_rose",))
    expected = store.frame().query("split == 'training' and label == 'red_rose'")
    assert of.paths == expected["path"].to_list()
    assert of.digests == expected["digest"].to_list()
    assert np.array_equal(of.vectors, np.stack(expected["vector"].to_list()))


def test_reading_a_damaged_file_names_it_and_gives_it_up(store: Store) -> None:
    store.run()
    part = store.directories()[0] / "part-00000.parquet"
    os.truncate(part, 100)
    with pytest.raises(UserError, match=f"deleted {part}, which was damaged"):
        store.rows("training")
    assert store.run() == Counts(computed=24, reused=24)


def test_a_class_that_has_gone_is_missed(store: Store) -> None:
    store.run()
    part, first = store.part("training"), store.directories()[0]
    shutil.rmtree(first)
    with pytest.raises(LostError, match=f"{first} is missing; run again"):
        list(part.labelled())


def test_any_bit_of_a_footer_may_be_wrong(store: Store) -> None:
    """What Arrow reads without complaint may still be no text, no JSON, or no list of vectors."""
    store.run()
    part = store.directories()[0] / "part-00000.parquet"
    whole = part.read_bytes()
    begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    needed = pd.Index(store.frame()["digest"])
    named = 0
    for place in np.random.default_rng(0).integers(begin, len(whole), 200).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        part.write_bytes(damaged)
        named += len(cache.VectorCache.find([part], needed).damaged)
        part.parent.mkdir(exist_ok=True)
    assert named > 20


def test_a_damaged_class_may_be_given_up_by_several_processes(store: Store) -> None:
    store.run()
    directory = store.directories()[0]
    for _ in range(2):
        reader.discard_class(directory, directory / "part-00000.parquet")
    assert store.run() == Counts(computed=24, reused=24)
    reader.discard_class(
        directory, directory / "a file that is gone"
    )  # and the class is there again
    assert store.run() == Counts(computed=0, reused=48)


def test_vectors_are_widened_as_numpy_does() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    expected = every.astype(np.float32)
    assert np.array_equal(to_float32(every), expected, equal_nan=True)
    out = np.empty_like(expected)
    to_float32(every[::2], out[::2])
    assert np.array_equal(out[::2], expected[::2], equal_nan=True)
    assert np.array_equal(to_float32(expected), expected, equal_nan=True)
