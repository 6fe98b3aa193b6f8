"""The bottleneck store: nothing twice, nothing lost, nothing wrong."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.bottlenecks import cache, extraction, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.bottlenecks.writer import Counts
from pipeline.errors import UserError
from pipeline.files import object_store, places
from pipeline.modules import preparation
from pipeline.photos import manifest, split
from pipeline.photos.split import SplitRule
from pipeline.pixels.augmentation import Augmentation
from tests.support.objects import Fault, Objects
from tests.support.photos import PhotoMaker, spoil
from tests.support.saved_modules import normalizing_module
from tests.support.store import Store


def test_a_first_run_computes_every_photo_once(store: Store) -> None:
    assert store.run() == Counts(computed=48, reused=0)


def test_a_second_run_computes_nothing(store: Store) -> None:
    store.run()
    assert store.run() == Counts(computed=0, reused=48)


def test_added_photos_alone_are_computed(store: Store, make_photo: PhotoMaker) -> None:
    store.run()
    for seed in (100, 101, 102):
        make_photo(store.image_dir / "red_rose" / f"{seed}.jpg", 1, seed)
    assert store.run() == Counts(computed=3, reused=48)


def test_a_replaced_photo_is_computed_again(store: Store, make_photo: PhotoMaker) -> None:
    store.run()
    before = store.frame().set_index("path")["vector"]["red_rose/3.jpg"]
    make_photo(store.image_dir / "red_rose" / "3.jpg", 2, 999)
    assert store.run() == Counts(computed=1, reused=47)
    assert not np.array_equal(store.frame().set_index("path")["vector"]["red_rose/3.jpg"], before)


def test_deleted_moved_renamed_and_relabelled_photos_cost_nothing(store: Store) -> None:
    store.run()
    rose, leaf = store.image_dir / "red_rose", store.image_dir / "green leaf"
    (rose / "0.jpg").unlink()
    (rose / "1.jpg").rename(rose / "renamed.jpg")
    (rose / "2.jpg").rename(leaf / "relabelled.jpg")
    leaf.rename(store.image_dir / "leaf")
    assert store.run() == Counts(computed=0, reused=47)
    assert "leaf/relabelled.jpg" in set(store.frame()["path"])


def test_other_percentages_cost_nothing(store: Store) -> None:
    store.run()
    store.rule = SplitRule(20, 30)
    assert store.run() == Counts(computed=0, reused=48)
    assert (store.frame()["split"] == "testing").mean() > 0.15


def test_equal_photos_are_computed_once_and_both_have_a_row(store: Store) -> None:
    shutil.copy(store.image_dir / "red_rose/0.jpg", store.image_dir / "red_rose/copy.jpg")
    assert store.run() == Counts(computed=48, reused=1)
    vectors = store.frame().set_index("path")["vector"]
    assert np.array_equal(vectors["red_rose/0.jpg"], vectors["red_rose/copy.jpg"])


def test_rows_hold_what_the_module_gives(store: Store) -> None:
    store.run()
    frame = store.frame()
    paths = [store.image_dir / path for path in frame["path"]]
    (expected, *rest) = extraction.extract(paths, store.recipe.module, "float32")
    vectors = np.concatenate([expected.vectors, *(batch.vectors for batch in rest)])
    assert np.array_equal(np.stack(frame["vector"].to_list()), vectors.astype(np.float16))


def test_a_file_is_plain_parquet_that_says_how_it_was_made(store: Store) -> None:
    store.run()
    part = store.directories()[0] / "part-00000.parquet"
    schema = pq.read_schema(part)
    assert schema.names == ["digest", "label", "path", "split", "variant", "vector"]
    assert schema.field("vector").type.list_size == 12
    assert str(schema.field("vector").type.value_type) == "halffloat"
    facts = schema.metadata[b"retrain"].decode()
    assert store.recipe.module.digest in facts
    assert '"precision": "float32"' in facts


def test_duckdb_reads_what_pandas_reads(store: Store) -> None:
    store.run()
    part = store.directories()[0] / "part-00000.parquet"
    query = f"SELECT path, split, vector FROM '{part}'"
    read = duckdb.sql(query).fetchall()
    frame = pd.read_parquet(part)
    assert [row[:2] for row in read] == list(zip(frame["path"], frame["split"], strict=True))
    assert np.array_equal([row[2] for row in read], np.stack(frame["vector"].to_list()))


def test_labels_that_look_alike_have_directories_of_their_own(
    store: Store, make_photo: PhotoMaker
) -> None:
    for number, label in enumerate(["Cat 1", "Cat_1", "猫", "犬"]):
        make_photo(store.image_dir / label / "0.jpg", 0, number)
    store.run()
    assert len({d.name.lower() for d in store.directories()}) == 6
    assert {"Cat 1", "Cat_1", "猫", "犬"} <= set(store.frame()["label"])


def test_the_same_module_under_another_name_costs_nothing(
    store: Store, tiny_module: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_module, tmp_path / "another name")
    module = preparation.prepare(str(tmp_path / "another name"), tmp_path)
    store.run()
    store.recipe = Recipe(module, "float32", "float16")
    assert store.run() == Counts(computed=0, reused=48)


def test_photos_of_one_color_are_noted(store: Store) -> None:
    Image.new("RGB", (20, 20), (0, 90, 200)).save(store.image_dir / "red_rose/blue.png")
    dark = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint16)  # of 65,535
    Image.fromarray(dark).save(store.image_dir / "red_rose/deep.png")
    store.run()
    notes = cache.read_notes(store.recipe.directory(store.path), cache.UNIFORM)
    rows = store.frame().set_index("digest")
    assert set(rows.loc[list(notes), "path"]) == {"red_rose/blue.png", "red_rose/deep.png"}


def normalizing(tmp_path: Path) -> Recipe:
    directory = normalizing_module(tmp_path / "normalizing")
    return Recipe(preparation.prepare(str(directory), tmp_path), "float32", "float16")


def test_a_photo_without_a_finite_vector_is_set_aside_by_name(store: Store, tmp_path: Path) -> None:
    store.recipe = normalizing(tmp_path)
    Image.new("RGB", (20, 20)).save(store.image_dir / "red_rose/black.png")
    counts = store.run()
    assert counts.rejected == {"red_rose/black.png": writer.NOT_FINITE}
    assert "red_rose/black.png" not in set(store.frame()["path"])
    assert np.isfinite(np.stack(store.frame()["vector"])).all()
    assert store.run() == Counts(computed=0, reused=48, rejected=counts.rejected)


def test_a_module_that_returns_no_finite_vector_stops_the_run_each_time(
    store: Store, tmp_path: Path
) -> None:
    store.recipe = normalizing(tmp_path)
    for path in filter(Path.is_file, store.image_dir.rglob("*")):
        Image.new("RGB", (20, 20)).save(path, "PNG")
    for _ in range(2):
        with pytest.raises(UserError, match="returns NaN or infinity for all photos"):
            store.run()
        assert not any(directory.is_dir() for directory in store.directories())


def test_photos_that_cannot_be_decoded_do_not_hide_that_all_others_give_nan(
    store: Store, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    store.recipe = normalizing(tmp_path)
    for path in filter(Path.is_file, store.image_dir.rglob("*")):
        Image.new("RGB", (20, 20)).save(path, "PNG")
    spoil(make_photo(store.image_dir / "red_rose/0.png"))
    with pytest.raises(UserError, match="returns NaN or infinity for all photos"):
        store.run()


def test_a_new_class_without_any_vector_stops_no_run(store: Store, tmp_path: Path) -> None:
    store.recipe = normalizing(tmp_path)
    store.run()
    (store.image_dir / "night").mkdir()
    Image.new("RGB", (20, 20)).save(store.image_dir / "night/black.png")
    night = store.summary().by_label["night"]
    rows = manifest.read(store.path / "manifest.parquet", ("night",))
    counts = writer.compute(rows, [night], store.image_dir, store.recipe, store.path)
    assert counts.rejected == {"night/black.png": writer.NOT_FINITE}


def test_a_copy_without_a_finite_vector_costs_only_itself(store: Store, tmp_path: Path) -> None:
    import tensorflow as tf

    class BrightOnly(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            mean = tf.reduce_mean(images, [1, 2])
            return tf.where(mean[:, :1] < 0.45, float("nan"), mean)

    tf.saved_model.save(BrightOnly(), str(tmp_path / "bright"))
    module = preparation.prepare(str(tmp_path / "bright"), tmp_path)
    for path in filter(Path.is_file, store.image_dir.rglob("*")):
        grey = 118 + int(path.stem)
        Image.new("RGB", (20, 20), (grey, grey, grey)).save(path, "PNG")
    copies = Augmentation(augmentations=2, random_brightness=10)
    store.recipe = Recipe(module, "float32", "float16", copies)
    counts = store.run()
    frame = store.frame()
    assert counts.rejected == {}
    photos = frame[frame["variant"] == 0]
    assert len(photos) == 48
    assert 0 < len(frame) - len(photos) < 2 * (photos["split"] == split.TRAINING).sum()
    assert np.isfinite(np.stack(frame["vector"])).all()
    assert store.run() == Counts(computed=0, reused=len(frame))


def test_another_output_of_the_module_gives_other_vectors(store: Store, tmp_path: Path) -> None:
    import tensorflow as tf

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
            mean = tf.reduce_mean(images, [1, 2])
            return {"mean": mean, "inverse": 1 - mean}

    tf.saved_model.save(Two(), str(tmp_path / "two"))
    vectors = []
    for output in ("mean", "inverse"):
        module = preparation.prepare(str(tmp_path / "two"), tmp_path, module_output=output)
        store.recipe = Recipe(module, "float32", "float32")
        assert store.run().computed == 48
        vectors.append(np.stack(store.frame()["vector"]))
    np.testing.assert_allclose(vectors[1], 1 - vectors[0], atol=1e-5)


def test_photos_that_cannot_be_decoded_are_set_aside_and_not_tried_again(
    store: Store, make_photo: PhotoMaker
) -> None:
    spoil(make_photo(store.image_dir / "red_rose/0.png"))
    first = store.run()
    assert first.rejected.keys() == {"red_rose/0.png"}
    assert "cannot be decoded" in first.rejected["red_rose/0.png"]
    assert "red_rose/0.png" not in set(store.frame()["path"])
    assert store.run() == Counts(computed=0, reused=48, rejected=first.rejected)


def test_a_run_that_is_interrupted_keeps_its_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "BATCH", 8)

    def interrupt(done: int, _total: int, _message: str) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.run(interrupt)
    assert not any(d.exists() for d in store.directories())
    assert store.run() == Counts(computed=24, reused=24)
    assert not list((store.recipe.directory(store.path) / "partial").iterdir())


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extraction, "BATCH", 8)
    monkeypatch.setattr(writer, "JOURNAL_ROWS", 8)
    store.run()
    whole = store.frame()
    store.path = tmp_path / "other"
    store.path.mkdir()

    def interrupt(done: int, total: int, _message: str) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    runs = 0
    while not all(d.exists() for d in store.directories()):
        runs += 1
        try:
            store.run(interrupt)
        except KeyboardInterrupt:
            assert runs < 10
    assert runs > 1
    pd.testing.assert_frame_equal(store.frame(), whole)


def test_a_damaged_file_is_named_and_only_its_photos_are_computed_again(store: Store) -> None:
    store.run()
    damaged = store.directories()[0] / "part-00000.parquet"
    size = damaged.stat().st_size
    os.truncate(damaged, size // 2)
    assert store.run() == Counts(computed=24, reused=24, damaged=[damaged])
    assert len(store.frame()) == 48


def test_a_class_is_whole_until_one_of_its_files_breaks_off(store: Store) -> None:
    store.run()
    directory = store.directories()[0]
    assert writer.is_complete(directory)
    os.truncate(directory / "part-00000.parquet", 500)
    assert not writer.is_complete(directory)
    assert not writer.is_complete(directory / "nothing here")


def test_a_flipped_bit_in_a_vector_is_noticed(store: Store, make_photo: PhotoMaker) -> None:
    store.run()
    directory = store.directories()[1]
    part = directory / "part-00000.parquet"
    column = pq.ParquetFile(part).metadata.row_group(0).column(5)
    data = bytearray(part.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 1
    part.write_bytes(data)
    make_photo(store.image_dir / "red_rose" / "new.jpg", 1, 100)
    counts = store.run()
    assert counts.damaged == [part]
    assert counts.computed == 25
    assert len(store.frame()) == 49


def test_a_class_whose_files_somebody_deleted_is_written_again(store: Store) -> None:
    store.run()
    expected = store.frame()
    (part,) = store.directories()[0].glob("*.parquet")
    part.unlink()
    store.run()
    pd.testing.assert_frame_equal(store.frame(), expected)


def test_a_photo_that_changes_during_the_run_stops_it(store: Store) -> None:
    photo = store.image_dir / "red_rose/3.jpg"
    classes = list(store.summary().classes)
    rows = manifest.read(store.path / "manifest.parquet")
    os.utime(photo, ns=(1, 1))
    with pytest.raises(UserError, match=r"red_rose/3\.jpg changed during"):
        writer.compute(rows, classes, store.image_dir, store.recipe, store.path)


def test_large_classes_are_cut_into_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.run()
    whole = store.frame()
    monkeypatch.setattr(writer, "FILE_ROWS", 10)
    for directory in store.directories():
        shutil.rmtree(directory)
    store.run()
    assert len(list(store.directories()[0].glob("part-*.parquet"))) == 3
    pd.testing.assert_frame_equal(store.frame(), whole)


@pytest.mark.parametrize("lost", [0, 2])
def test_a_class_that_lacks_a_file_is_not_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    monkeypatch.setattr(writer, "FILE_ROWS", 10)
    store.run()
    whole, directory = store.frame(), store.directories()[0]
    (directory / f"part-{lost:05}.parquet").unlink()
    assert not writer.is_complete(directory)
    rows = [10, 10, 4][lost]
    assert store.run() == Counts(computed=rows, reused=48 - rows)
    pd.testing.assert_frame_equal(store.frame(), whole)
    assert store.run() == Counts(reused=48)


def test_training_photos_get_copies_and_the_photos_themselves_are_reused(store: Store) -> None:
    store.run()
    plain = store.frame()
    training = int((plain["split"] == "training").sum())
    store.recipe = replace(store.recipe, augmentation=Augmentation(1, random_brightness=50))
    assert store.run() == Counts(computed=training, reused=48)
    frame = store.frame()
    copies = frame[frame["variant"] == 1]
    assert copies["split"].unique().tolist() == ["training"]
    assert copies["path"].to_list() == plain.query("split == 'training'")["path"].to_list()
    pd.testing.assert_frame_equal(frame[frame["variant"] == 0].reset_index(drop=True), plain)
    brighter = np.stack(copies["vector"].to_list()) / np.stack(
        plain.query("split == 'training'")["vector"].to_list()
    )
    assert brighter.max() > 1.1
    assert brighter.min() < 0.9


def test_more_copies_are_added_to_those_there_and_other_ones_are_not_mixed_up(
    store: Store,
) -> None:
    store.recipe = replace(store.recipe, augmentation=Augmentation(1, random_brightness=50))
    store.run()
    training = int((store.frame()["split"] == "training").sum()) // 2
    store.recipe = replace(store.recipe, augmentation=Augmentation(3, random_brightness=50))
    assert store.run() == Counts(computed=2 * training, reused=48 + training)
    assert store.frame()["variant"].value_counts().to_dict() == {
        0: 48,
        **dict.fromkeys((1, 2, 3), training),
    }
    store.recipe = replace(store.recipe, augmentation=Augmentation(3, random_brightness=60))
    assert store.run() == Counts(computed=3 * training, reused=48)
    store.recipe = replace(store.recipe, augmentation=Augmentation())
    assert store.run() == Counts(computed=0, reused=48)
    assert len(store.frame()) == 48


def test_a_copy_is_the_same_whether_computed_alone_or_with_others(
    store: Store, tmp_path: Path
) -> None:
    store.recipe = replace(store.recipe, augmentation=Augmentation(1, True, 20, 20, 20, 20))
    store.run()
    store.recipe = replace(store.recipe, augmentation=Augmentation(2, True, 20, 20, 20, 20))
    store.run()
    grown = store.frame()
    store.path = tmp_path / "at once"
    store.path.mkdir()
    store.run()
    pd.testing.assert_frame_equal(store.frame(), grown)


def test_a_photo_that_cannot_be_decoded_has_no_copies_either(
    store: Store, make_photo: PhotoMaker
) -> None:
    assert split.assign(store.rule, "red_rose/5.png") == split.TRAINING
    spoil(make_photo(store.image_dir / "red_rose/5.png"))
    store.recipe = replace(store.recipe, augmentation=Augmentation(1, True))
    counts = store.run()
    frame = store.frame()
    assert counts.rejected.keys() == {"red_rose/5.png"}
    assert "red_rose/5.png" not in set(frame["path"])
    assert (counts.computed, counts.reused) == (len(frame), 0)


def test_a_class_without_photos_has_an_empty_data_set(store: Store) -> None:
    (store.image_dir / "nothing").mkdir()
    (store.image_dir / "nothing" / "broken.jpg").write_bytes(b"no photo")
    store.run()
    assert len(store.directories()) == 3
    assert (store.frame()["label"] == "nothing").sum() == 0


def test_vectors_too_large_for_float16_are_refused_with_the_remedy(store: Store) -> None:
    with pytest.raises(UserError, match="set vector_type to float32"):
        writer.to_storage_type(np.array([[1e6]], np.float32), store.recipe)


@pytest.mark.parametrize("largest", [3e-10, 1e-6])
def test_vectors_too_small_for_float16_are_refused_with_the_remedy(
    store: Store, largest: float
) -> None:
    vectors = np.array([[largest, 0], [0, largest / 2]], np.float32)
    with pytest.raises(UserError, match=f"up to {largest:g}, which are too small for float16; set"):
        writer.to_storage_type(vectors, store.recipe)
    float32 = replace(store.recipe, vector_type="float32")
    assert np.array_equal(writer.to_storage_type(vectors, float32), vectors)


def test_a_photo_whose_features_are_all_zero_is_stored(store: Store) -> None:
    assert not writer.to_storage_type(np.zeros((1, 3), np.float32), store.recipe).any()


def test_remarks_tell_the_counts_and_name_what_went_wrong() -> None:
    counts = Counts(12, 48211, {"a/b.jpg": "cannot be decoded"}, [Path("x.parquet")])
    first, damaged, rejected = writer.summary_lines(counts)
    assert first == "Bottlenecks: 12 computed, 48,211 reused"
    assert "x.parquet" in damaged
    assert "a/b.jpg: cannot be decoded" in rejected


def test_workers_at_the_same_time_disturb_each_other_in_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writer, "JOURNAL_ROWS", 4)  # many files that others take away
    classes = list(store.summary().classes)
    rows = manifest.read(store.path / "manifest.parquet")
    for number in range(5):
        home = tmp_path / f"store {number}"
        delays = (0, 0.01 * number, 0.02 * number)

        def work(delay: float, home: Path = home) -> Counts:
            time.sleep(delay)
            return writer.compute(rows, classes, store.image_dir, store.recipe, home)

        with ThreadPoolExecutor() as threads:
            done = list(threads.map(work, delays))
        assert [counts.damaged for counts in done] == [[], [], []]
        assert list(home.glob("*/partial/*")) == []
        found = [writer.class_directory(home, store.recipe, c) for c in classes]
        assert sum(len(pd.read_parquet(d)) for d in found) == 48


@pytest.mark.parametrize(
    ("mishap", "reason"),
    [
        (
            "fails",
            "cannot be read in 5 attempts: .*at fault; run again: finished work is kept",
        ),
        ("is gone", r"cannot be read any more \(No such file or directory\); run again"),
        ("changes", "changed during the run; run again"),
    ],
)
def test_what_is_computed_when_a_photo_of_a_store_fails_is_kept(
    store: Store,
    objects: Objects,
    make_photo: PhotoMaker,
    monkeypatch: pytest.MonkeyPatch,
    mishap: str,
    reason: str,
) -> None:
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)
    monkeypatch.setattr(extraction, "BATCH", 8)
    photo, key = store.image_dir / "red_rose/9.jpg", "photos/red_rose/9.jpg"  # the last one
    there = replace(store, image_dir=places.parse(objects.put_folder(store.image_dir, "photos")))
    classes = list(there.summary().classes)
    rows = manifest.read(store.path / "manifest.parquet")
    if mishap == "fails":
        objects.faults = [Fault(f"GET .*/{key}", 500)]
    elif mishap == "is gone":
        objects.delete(key)
    else:
        objects.put(key, make_photo(photo, 2, 99).read_bytes())
    with pytest.raises(UserError, match=f"{there.image_dir}/red_rose/9.jpg {reason}"):
        writer.compute(rows, classes, there.image_dir, store.recipe, store.path)
    objects.faults.clear()
    if mishap != "changes":
        objects.put(key, photo.read_bytes())
    counts = there.run()
    assert counts.computed + counts.reused == 48
    assert counts.reused >= 32
