"""Speed of fine-tuning: `make bench-fine-tuning IMAGE_DIR=photos`.

Compares, in rounds, photos per second of

- the bare gradient step on one batch that is ready,
- the stage: photos from the cache, distorted, and trained with AdamW,
- a plain `fit` of Keras 2 on `image_dataset_from_directory`, with the module as a layer of
  TensorFlow Hub, which is how make_image_classifier does it.

Also prints the peak memory of the stage per batch size, which `pipeline.fine_tuning.memory` uses.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.bottlenecks import show
from pipeline import tensorflow_import
from pipeline.fine_tuning import memory
from pipeline.fine_tuning.batches import TrainingPhotos, enlarged_size
from pipeline.fine_tuning.network import Network
from pipeline.fine_tuning.photo_cache import PhotoCache
from pipeline.fine_tuning.settings import DISTORTIONS, Settings
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, frozen_graph, preparation
from pipeline.photos.listing import list_photos

SECONDS = 20.0  # per measurement


def _prepared(image_dir: Path, scratch: Path, precision: str, batch: int) -> Any:
    """Return a network with a random head, and its training photos."""
    tensorflow_import.import_tensorflow()
    module = preparation.prepare("efficientnet-lite0", scratch)
    rows = list_photos(image_dir).photos
    labels, classes = np.unique(rows["label"], return_inverse=True)
    weights = np.random.default_rng(0).normal(size=(module.features, len(labels))) / 100
    head = Head(tuple(labels), weights.astype(np.float32), np.zeros(len(labels), np.float32))
    network = Network(module, head, np.ones(len(labels), np.float32), Settings(1), precision)
    paths = [image_dir / path for path in rows["path"]]
    size = enlarged_size(module.input, DISTORTIONS)
    cache = PhotoCache(paths, [""] * len(paths), module.input, size, scratch, 10**9)
    digests = [f"{number:064x}" for number in range(len(paths))]
    return network, TrainingPhotos(cache, digests, classes, module.input, DISTORTIONS, batch, 0)


def bare(image_dir: Path, scratch: Path, precision: str, batch: int) -> float:
    """Compute gradients on the same batch again and again."""
    with engines.mixed_precision(precision):
        network, photos = _prepared(image_dir, scratch, precision, batch)
        images, truth = next(photos.batches(0))
        return batch * _rate(lambda: network.loss(images, truth))


def stage(image_dir: Path, scratch: Path, precision: str, batch: int) -> float:
    """Train as the stage does."""
    with engines.mixed_precision(precision):
        network, photos = _prepared(image_dir, scratch, precision, batch)
        photos.cache.fill()
        batches = (item for epoch in range(1000) for item in photos.batches(epoch))
        return batch * _rate(lambda: network.train(*next(batches), 1e-4))


def plain_fit(image_dir: Path, scratch: Path, precision: str, batch: int) -> float:  # noqa: ARG001
    """Fit with Keras, without augmentation."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    tensorflow_import.import_tensorflow()
    import tensorflow as tf
    import tensorflow_hub
    import tf_keras

    module = preparation.prepare("efficientnet-lite0", scratch)
    size = (module.height, module.width)
    photos = tf_keras.utils.image_dataset_from_directory(
        image_dir, image_size=size, batch_size=batch
    )
    classes = len(photos.class_names)
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Rescaling(1 / 255, input_shape=(*size, 3)),
            tensorflow_hub.KerasLayer(module.directory, trainable=True),
            tf_keras.layers.Dense(classes),
        ]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.AdamW(1e-4), loss)
    ends = []

    class Clock(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            ends.append(time.perf_counter())
            if ends[-1] - ends[0] > SECONDS:
                self.model.stop_training = True
                raise StopIteration

    with suppress(StopIteration):
        model.fit(photos.prefetch(tf.data.AUTOTUNE), epochs=9, verbose=0, callbacks=[Clock()])
    return batch * (len(ends) - 1) / (ends[-1] - ends[0])


def peak(image_dir: Path, scratch: Path, precision: str, batch: int) -> float:
    """Return the peak memory of three steps in bytes, relative to the module's activations."""
    with engines.mixed_precision(precision):
        network, photos = _prepared(image_dir, scratch, precision, batch)
        images, truth = next(photos.batches(0))
        for _ in range(3):
            network.train(images, truth, 1e-4)
        module = frozen_graph.freeze(network.module, scratch / "frozen.pb")
        used = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (batch * memory.activation_bytes(module))


def _rate(step: Callable[[], Any]) -> float:
    step()
    step()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        step()
        done += 1
    return done / (time.perf_counter() - start)


def _alone(function: Callable[..., float], *arguments: Any) -> float:
    """Run a measurement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of fine-tuning.")
    parser.add_argument("--image-dir", type=Path, help="photos (default: generated ones)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    precision = engines.resolve_precision(engines.AUTO)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        photos = arguments.image_dir or data.crops(scratch / "photos")
        rows = [
            {
                "round": number + 1,
                **{
                    f"{function.__name__}, {kind}": _alone(
                        function, photos, scratch, kind, arguments.batch
                    )
                    for function in (bare, stage, plain_fit)
                    for kind in dict.fromkeys(("float32", precision))
                    if (function, kind) != (plain_fit, "bfloat16")
                },
            }
            for number in range(arguments.rounds)
        ]
        show(rows)
        for kind in dict.fromkeys(("float32", precision)):
            for batch in (16, 64):
                share = _alone(peak, photos, scratch, kind, batch)
                print(f"peak memory, {kind}, batch {batch}: {share:.2f} of the activations")


if __name__ == "__main__":
    main()
