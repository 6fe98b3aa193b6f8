"""Exported Keras models: what replaces layers that other runtimes cannot contain."""

import numpy as np
import pytest

from pipeline.modules import keras_export

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras 3.15 with NumPy 2.4

PHOTOS = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)


def test_convolutions_with_a_group_per_channel_are_the_same_as_depthwise() -> None:
    keras = keras_export.import_keras()
    layers = keras.layers
    grouped = [layers.Conv2D(8, 1), layers.Conv2D(8, 3, groups=8, padding="same", name="grouped")]
    inner = keras.Sequential([keras.Input((16, 16, 3)), *grouped])
    photos = keras.Input((16, 16, 3))
    model = keras.Model(photos, layers.GlobalAveragePooling2D()(inner(photos)))
    made = keras_export._without_grouped_convolutions(model)
    kinds = [type(layer).__name__ for layer in keras_export.flat_layers(made)]
    assert kinds.count("DepthwiseConv2D") == 1
    np.testing.assert_allclose(made(PHOTOS), model(PHOTOS), rtol=1e-4, atol=1e-5)
