"""The network: several devices train as one does, and Keras's networks can be trained."""

from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.fine_tuning import network, training
from pipeline.fine_tuning.network import Network
from pipeline.fine_tuning.settings import DISTORTIONS, Settings
from pipeline.fine_tuning.training import Source
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, keras_export, loading, preparation
from pipeline.photos import split
from pipeline.photos.split import SplitRule
from tests.support import keras_models
from tests.support.photos import write_photo
from tests.support.saved_modules import tunable_module
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
    _, gradients = tuned._loss_and_gradients(photos, np.arange(8) % 2)
    assert gradients[0].shape == kernel.shape
    assert np.abs(gradients[0]).max() > 1e-6
    assert not np.array_equal(tuned.variables[0], kernel)
    tuned.save(tmp_path / "tuned")
    again = preparation.prepare(str(tmp_path / "tuned"), tmp_path / "modules")
    vectors = loading.load(again)[0](photos)
    logits = vectors @ tuned.variables[-2] + tuned.variables[-1]
    np.testing.assert_allclose(
        logits, tuned.head().logits(tuned.vectors(photos)), rtol=1e-3, atol=1e-3
    )
    before = loading.load(module)[0](photos)
    assert np.abs(vectors - before).max() > 1e-3 * np.abs(before).max()


def _losses(net: Network) -> Iterator[float]:
    """Yield the losses of three steps, the last one on fewer photos than there are devices."""
    generator = np.random.default_rng(0)
    for photos in (9, 8, 1):
        images = generator.random((photos, 8, 8, 3)).astype(np.float32)
        yield net.train(images, np.arange(photos) % 3, 1e-2)


def train_on_one_and_on_two(folder: Path, precision: str) -> list[tuple[list[float], np.ndarray]]:
    """Return the losses and the final state, with one device and with two.

    TensorFlow can divide the processor into devices only before it is used, hence in a process of
    its own.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(processor, [half, half])
    module = preparation.prepare(str(tunable_module(folder / "module")), folder)
    weights = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    head = Head(("a", "b", "c"), weights, np.zeros(3, np.float32))
    results = []
    both = partial(tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
    for count, strategy in ((1, tf.distribute.get_strategy), (2, both)):
        network._strategy = strategy
        net = Network(module, head, np.array([0.5, 1, 1.5], np.float32), Settings(1), precision)
        assert net._strategy.num_replicas_in_sync == count
        losses = list(_losses(net))
        state = net.state()
        net.assign(state)
        net.save(folder / f"saved-{count}")
        results.append((losses, np.concatenate([np.ravel(array) for array in state])))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("precision", [engines.FLOAT32, engines.FLOAT16])
def test_two_devices_train_as_one_does(tmp_path: Path, precision: str) -> None:
    with get_context("spawn").Pool(1) as pool:
        one, two = pool.apply(train_on_one_and_on_two, (tmp_path, precision))
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
    np.testing.assert_allclose(one[1], two[1], atol=1e-6)
    files = [tmp_path / f"saved-{count}/variables/variables.index" for count in (1, 2)]
    assert all(file.is_file() for file in files)
