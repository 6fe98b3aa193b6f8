"""Training Keras's networks: exported ones have gradients, and can be saved again."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.fine_tuning import network, training
from pipeline.fine_tuning.settings import DISTORTIONS, Settings
from pipeline.fine_tuning.training import Source
from pipeline.modules import keras_export, loading, preparation
from pipeline.photos import split
from pipeline.photos.split import SplitRule
from tests.support import keras_models
from tests.support.photos import write_photo
from tests.support.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras 3.15 with NumPy 2.4

SIZE = 32  # the least that MobileNetV2 takes


def test_an_exported_keras_file_has_the_gradients_of_its_layers(tmp_path: Path) -> None:
    keras = keras_export.import_keras()
    import tensorflow as tf

    model = keras_models.classifier()
    pooled = keras.Model(model.inputs[0], model.get_layer("pool").output)
    for layer in model.layers:
        layer.trainable = False  # as if only a classifier had been trained
    model.save(tmp_path / "model.keras")
    for layer in model.layers:
        layer.trainable = True
    module = preparation.prepare(str(tmp_path / "model.keras"), tmp_path, image_range="byte")
    loaded, variables = network.trainable(module)
    photos = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    with tf.GradientTape(persistent=True) as tape:
        found = tf.reduce_sum(loading.bind(module, loaded)(photos) ** 2)
        expected = tf.reduce_sum(pooled(photos * 255, training=False) ** 2)
    assert len(variables) == 4  # kernel and bias, gamma and beta
    for gradient, wanted in zip(
        tape.gradient(found, variables),
        tape.gradient(expected, [v.value for v in pooled.trainable_variables]),
        strict=True,
    ):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4)


@pytest.mark.slow
def test_a_keras_application_is_trained_to_its_first_layer(tmp_path: Path) -> None:
    photos = np.random.default_rng(0).random((8, SIZE, SIZE, 3), np.float32)
    model = keras_models.network("MobileNetV2", SIZE)
    for layer in model.layers:
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(photos * 2 - 1, training=True)  # batch norm now keeps the signal from vanishing
    weights = keras_models.save_weights(model, tmp_path / "weights.h5")
    module = preparation.prepare(f"keras:MobileNetV2@{weights}", tmp_path / "modules", SIZE)
    for hue, label in enumerate(("one", "two")):
        for seed in range(10):
            write_photo(tmp_path / "photos" / label / f"{seed}.jpg", hue, seed)
    recipe = Recipe(module, "float32", "float32")
    store = Store(tmp_path / "photos", recipe, tmp_path, SplitRule(30, 10))
    store.run()
    classes = sorted(recipe.directory(store.path).glob("*-*/"))
    readers = (SplitReader(classes, name) for name in (split.TRAINING, split.VALIDATION))
    source = Source(recipe, *readers, store.image_dir)
    settings = Settings(1, fine_tune_batch_size=8)
    tuned, record = training.tune(source, settings, DISTORTIONS, tmp_path, 10**7)
    assert len(record.epochs) == 1

    kernel = model.layers[1].kernel
    _, gradients = tuned._gradients(photos, np.arange(8) % 2)
    assert gradients[0].shape == kernel.shape
    assert np.abs(gradients[0]).max() > 1e-6
    assert not np.array_equal(tuned.variables[0], kernel)
    tuned.save(tmp_path / "tuned")
    again = preparation.prepare(str(tmp_path / "tuned"), tmp_path / "modules")
    vectors = loading.load(again)[0](photos)
    logits = vectors @ tuned.variables[-2] + tuned.variables[-1]
    np.testing.assert_allclose(logits, tuned.logits(photos), rtol=1e-3, atol=1e-3)
    before = loading.load(module)[0](photos)
    assert np.abs(vectors - before).max() > 1e-3 * np.abs(before).max()
