"""Failures: an error that a module raises is explained, with the photo."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.modules import consistency, failures, loading, preparation
from tests.support.saved_modules import refusing_module


def test_the_module_the_photo_the_reason_and_the_remedy_are_named(tmp_path: Path) -> None:
    module = preparation.prepare(str(refusing_module(tmp_path / "m")), tmp_path)
    extract, _ = loading.load(module)
    images = np.zeros((4, 8, 8, 3), np.float32)
    images[1] = 1
    with pytest.raises(UserError) as caught:
        failures.call(extract, images, "tfhub_module: m", ["a.jpg", "b.jpg", "c.jpg"])
    message = str(caught.value)
    assert message.startswith(
        "tfhub_module: m raises an error for b.jpg: assertion failed: [too bright for this module]"
    )
    assert message.endswith(
        "; remove the photo, check image_range and image_size, or use another module"
    )
    assert "\n" not in message


def test_an_error_of_a_batch_names_no_photo() -> None:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    def only_four(images: tf.Tensor) -> tf.Tensor:
        tf.debugging.assert_less(images[-1], 1.0)  # the last one is no photo
        return images

    with pytest.raises(UserError, match=r"^m raises an error: .*; check image_range"):
        failures.call(only_four, tf.constant([0.0, 1.0]), "m", ["a.jpg"])


def test_a_lack_of_memory_is_not_the_modules_fault() -> None:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    def exhausted(_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(tf.errors.ResourceExhaustedError):
        failures.call(exhausted, tf.zeros(1), "m")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("it has no such output\nand more", "it has no such output"),
        ("{{function_node __wrapped__MatMul}} size mismatch [Op:MatMul] name: ", "size mismatch"),
        (
            "Graph execution error:\n\nDetected at node a/b defined at (most recent call last):\n"
            "<stack traces unavailable>\ntoo dark\n\t [[{{node a/b}}]] [Op:__inference_4]",
            "too dark",
        ),
        ("", "ValueError"),
    ],
)
def test_the_line_with_the_reason_is_found(text: str, reason: str) -> None:
    assert failures.reason(ValueError(text)).removesuffix(" name:") == reason


def test_a_module_that_fails_for_any_photo_is_refused(tmp_path: Path) -> None:
    module = preparation.prepare(str(refusing_module(tmp_path / "m")), tmp_path)
    with pytest.raises(UserError, match=r"m raises an error: assertion failed: .*; check image_ra"):
        consistency.check(replace(module, image_range="byte"))


def test_a_module_that_fails_for_black_photos_is_refused(tmp_path: Path) -> None:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
    def bright(images: tf.Tensor) -> tf.Tensor:
        tf.debugging.assert_positive(images, "too dark")
        return tf.reduce_mean(images, [1, 2])

    module.__call__ = bright
    tf.saved_model.save(module, str(tmp_path / "m"))
    with pytest.raises(
        UserError, match=r"m does not turn photos into feature vectors: .*too dark.*; check image_r"
    ):
        preparation.prepare(str(tmp_path / "m"), tmp_path)
