"""Frozen modules: the same vectors to the bit, and no harm where a module cannot be frozen."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bottlenecks import extraction
from pipeline.modules import frozen_graph, loading, preparation
from pipeline.modules.loading import Module
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import tf1_module

BATCH = extraction.BATCH


def pixels(module: Module) -> np.ndarray:
    shape = (BATCH, module.height, module.width, 3)
    return np.random.default_rng(0).random(shape, np.float32)


def same_to_the_bit(module: Module, path: Path) -> bool:
    """Whether the module gives the same vectors frozen and as it is."""
    import tensorflow as tf

    made = frozen_graph.freeze(module, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert made == replace(module, frozen=str(path), frozen_digest=digest)
    photos = tf.constant(pixels(module))
    function = frozen_graph.load(made, BATCH)
    assert function is not None
    expected = tf.function(loading.load(module)[0])(photos)
    return bool(np.array_equal(function(photos), expected))


@pytest.mark.slow
def test_the_built_in_module_gives_the_same_vectors(lite0: Module, tmp_path: Path) -> None:
    assert same_to_the_bit(lite0, tmp_path / "frozen.pb")
    assert (tmp_path / "frozen.pb").stat().st_size < 14e6  # its weights, and no scaled copies


def test_a_module_of_tensorflow_1_gives_the_same_vectors(tmp_path: Path) -> None:
    directory = tf1_module(tmp_path / "module", (None, 8, 8, 3))
    module = preparation.prepare(str(directory), tmp_path, image_range="byte")
    assert same_to_the_bit(module, tmp_path / "frozen.pb")


def test_a_module_with_a_fixed_batch_size_stays_as_it_is(tmp_path: Path) -> None:
    directory = tf1_module(tmp_path / "module", (5, 8, 8, 3))
    module = preparation.prepare(str(directory), tmp_path, image_range="byte")
    assert frozen_graph.freeze(module, tmp_path / "frozen.pb") == module  # it runs in a loop


def test_a_module_with_a_table_stays_as_it_is(tmp_path: Path) -> None:
    import tensorflow as tf

    keys, values = tf.constant([0, 1], tf.int64), tf.constant([5.0, 6.0])
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    module.__call__ = tf.function(
        lambda images: tf.reduce_mean(images, [1, 2]) * module.table[tf.constant(1, tf.int64)],
        [spec],
    )
    tf.saved_model.save(module, str(tmp_path / "module"))
    prepared = preparation.prepare(str(tmp_path / "module"), tmp_path)
    assert frozen_graph.freeze(prepared, tmp_path / "frozen.pb") == prepared
    assert not (tmp_path / "frozen.pb").exists()
    assert frozen_graph.load(prepared, BATCH) is None


def test_a_file_that_is_damaged_or_gone_is_done_without(
    tiny_module: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    module = preparation.prepare(str(tiny_module), tmp_path)
    made = frozen_graph.freeze(module, tmp_path / "frozen.pb")
    photo = make_photo(tmp_path / "photo.jpg")
    (expected,) = extraction.extract([photo], made, "float32")
    content = bytearray((tmp_path / "frozen.pb").read_bytes())
    content[len(content) // 2] ^= 64  # it may still be a graph, of other numbers
    (tmp_path / "frozen.pb").write_bytes(content)
    assert frozen_graph.load(made, BATCH) is None
    (damaged,) = extraction.extract([photo], made, "float32")
    (tmp_path / "frozen.pb").unlink()
    (gone,) = extraction.extract([photo], made, "float32")
    assert np.array_equal(damaged.vectors, expected.vectors)
    assert np.array_equal(gone.vectors, expected.vectors)


def test_a_large_graph_is_left_to_other_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tf1_module(tmp_path / "module", (None, 8, 8, 3))
    module = preparation.prepare(str(directory), tmp_path)
    small = frozen_graph.freeze(module, tmp_path / "small.pb")
    monkeypatch.setattr(frozen_graph, "_is_large", lambda _: True)
    large = frozen_graph.freeze(module, tmp_path / "large.pb")  # without constant folding
    assert frozen_graph.is_intact(large)
    assert frozen_graph.load(large, BATCH) is None
    monkeypatch.undo()
    photos = pixels(module)
    functions = [frozen_graph.load(made, BATCH) for made in (small, large)]
    np.testing.assert_array_equal(*(function(photos) for function in functions if function))
