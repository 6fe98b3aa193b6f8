"""The network: several devices train as one does."""

from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.fine_tuning import network
from pipeline.fine_tuning.network import Network
from pipeline.fine_tuning.settings import Settings
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, preparation
from tests.support.saved_modules import tunable_module


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
