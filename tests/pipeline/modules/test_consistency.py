"""Consistency: modules in training mode are refused, and others are not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.modules import consistency, preparation
from pipeline.modules.loading import Module

Layer = Callable[[Any], Any]


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Layer], Module]:
    """Save a module that applies a layer to images of 8 x 8 pixels."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    def save(layer: Layer, batch: int | None = None) -> Module:
        spec = tf.TensorSpec([batch, 8, 8, 3], tf.float32)
        module = tf.Module()
        module.__call__ = tf.function(lambda x: tf.reshape(layer(x), [-1, 192]), [spec])
        tf.saved_model.save(module, str(tmp_path / "m"))
        return preparation.prepare(str(tmp_path / "m"), tmp_path)

    return save


def normalized_by_the_batch(images: Any) -> Any:
    import tensorflow as tf

    mean, variance = tf.nn.moments(images, [0, 1, 2])
    return (images - mean) / tf.sqrt(variance + 1e-3)


def test_a_module_without_such_layers_is_consistent(save: Callable[[Layer], Module]) -> None:
    assert consistency.check(save(lambda x: x * 2)) == ""


@pytest.mark.parametrize("batch", [None, 4])
def test_batch_normalization_in_training_mode_is_refused(
    save: Callable[..., Module], batch: int | None
) -> None:
    with pytest.raises(UserError, match="depends on the other photos in the batch"):
        consistency.check(save(normalized_by_the_batch, batch))


def test_dropout_in_training_mode_is_refused(save: Callable[[Layer], Module]) -> None:
    import tensorflow as tf

    with pytest.raises(UserError, match="another vector each time it gets the same photo"):
        consistency.check(save(lambda x: tf.nn.dropout(x, 0.2)))


def test_small_differences_between_batch_sizes_are_rounding(
    save: Callable[[Layer], Module],
) -> None:
    import tensorflow as tf

    def rounded(images: Any) -> Any:
        return images + 1e-5 * tf.cast(tf.shape(images)[0], tf.float32)

    assert consistency.check(save(rounded)) == ""


def test_an_image_without_a_vector_is_no_inconsistency(save: Callable[[Layer], Module]) -> None:
    assert consistency.check(save(lambda x: x / (x[:, :1, :1] - x[:, :1, :1] + 0.0))) == ""


def test_vectors_that_hardly_differ_are_a_reason_to_check_the_pixel_range(
    save: Callable[[Layer], Module],
) -> None:
    assert "set image_range (byte: 0 to 255" in consistency.check(save(lambda x: x / 255 + 1))


def test_probabilities_are_no_features(save: Callable[[Layer], Module]) -> None:
    import tensorflow as tf

    def classifier(images: Any) -> Any:
        return tf.nn.softmax(tf.reshape(images, [-1, 192]))

    assert "are probabilities (they add up to 1)" in consistency.check(save(classifier))
