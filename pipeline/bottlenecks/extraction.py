"""Photos through a module: decode, resize and forward pass, overlapped, a batch at a time."""

import functools
import importlib.util
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.modules import frozen_graph, loading
from pipeline.modules.loading import Module
from pipeline.photos import augmentation, decoding, sources
from pipeline.photos.augmentation import Augmentation

BATCH = 32  # photos; twice as many were no faster on two cores
AHEAD = 8  # batches that may be decoded while the module is loaded
AUTO, FLOAT32, BFLOAT16, FLOAT16 = "auto", "float32", "bfloat16", "float16"
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CPU_FLAGS, _GPUS = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")
# TensorFlow's options for products of lower precision, with float32 sums between them.
_MIXED = {BFLOAT16: "auto_mixed_precision_onednn_bfloat16", FLOAT16: "auto_mixed_precision"}


@dataclass(frozen=True)
class Batch:
    """What came of a few photos.

    Attributes:
        indices: int64 [n], positions in the list of paths.
        vectors: float32 [n, features].
        rejected: position -> why the photo could not be decoded.
    """

    indices: np.ndarray
    vectors: np.ndarray
    rejected: dict[int, str]


@dataclass(frozen=True)
class Decoded:
    """A few photos as pixels.

    Attributes:
        indices: int64 [n], positions in the list of paths.
        pixels: float32 tensor [BATCH, height, width, 3] in [0, 1]; zeros past the n-th.
        rejected: position -> why the photo could not be decoded.
    """

    indices: np.ndarray
    pixels: Any
    rejected: dict[int, str]


@functools.cache
def resolve_precision(precision: str) -> str:
    """What `auto` stands for on this machine; other precisions stand for themselves.

    It is float16 where TensorFlow will use an NVIDIA GPU (the extra `gpu` brings the libraries),
    bfloat16 where the processor has it natively, float32 elsewhere. Loads no TensorFlow.
    """
    if precision != AUTO:
        return precision
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if _GPUS.is_dir() and not hidden and importlib.util.find_spec("nvidia"):
        return FLOAT16
    try:
        flags = _CPU_FLAGS.read_text().split()
    except OSError:
        return FLOAT32
    return BFLOAT16 if _BFLOAT16_FLAGS.intersection(flags) else FLOAT32


def extract(
    paths: Sequence[Place],
    module: Module,
    precision: str,
    how: Augmentation | None = None,
    seeds: np.ndarray | None = None,
    digests: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Vectors of the photos at `paths`, in order.

    Args:
        paths: of the files.
        module: that makes the vectors.
        precision: float32; or bfloat16 or float16 for the products, with float32 sums between them.
        how: how copies are distorted, where some of `paths` stand for copies.
        seeds: int64 [len(paths), 2], as `augmentation.seed` gives them; by default all of `paths`
            stand for the photos themselves.
        digests: as `decode`.

    Raises:
        UserError: where a file is no longer there, or the module cannot be loaded.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    height, width = module.height, module.width
    on_gpu = bool(tf.config.list_physical_devices("GPU"))

    def run(part: Decoded) -> Batch:
        vectors = forward.result()(part.pixels).numpy()
        return Batch(part.indices, vectors[: len(part.indices)], part.rejected)

    # In a thread of its own, so that photos are decoded while the module is loaded, and the module
    # has work while others do theirs with a batch.
    with mixed_precision(precision), ThreadPoolExecutor(1) as worker:
        forward = worker.submit(load_extractor, module)
        running: deque[Future[Batch]] = deque()
        failure: UserError | None = None
        try:
            for part in decode(paths, height, width, how, seeds, digests):
                running.append(worker.submit(run, part))
                if running[0].done() or len(running) == AHEAD:
                    while len(running) > 1:
                        yield running.popleft().result()
                    if not on_gpu:
                        wait(running)  # both use all cores: decoding at the same time takes longer
        except UserError as error:  # of one photo; those before it are done
            failure = error
        for batch in running:
            yield batch.result()
        if failure:
            raise failure


def load_extractor(module: Module) -> Callable[[Any], Any]:
    """The module as a function from float32 [BATCH, height, width, 3] to float32 [BATCH, features].

    One shape for all batches: nothing is traced twice, and a photo's vector does not depend on how
    full its batch was.

    Raises:
        UserError: where it is no longer there.
    """
    import tensorflow as tf

    shape = tf.TensorSpec([BATCH, module.height, module.width, 3], tf.float32)
    return frozen_graph.load(module, BATCH) or tf.function(
        loading.load(module)[0], input_signature=[shape], autograph=False
    )


def decode(
    paths: Sequence[Place],
    height: int,
    width: int,
    how: Augmentation | None = None,
    seeds: np.ndarray | None = None,
    digests: Sequence[str] | None = None,
) -> Iterator[Decoded]:
    """Pixels of the photos at `paths`, in order; files are read ahead, and decoded when asked for.

    Args:
        paths: of the files.
        height, width: wanted size in pixels.
        how, seeds: as `extract`.
        digests: that the photos must have, SHA-256 in hex. Only photos of a store are looked at:
            of files, `bottlenecks` asks for the time of the last change.

    Raises:
        UserError: where a file is no longer there, or a store fails.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    if seeds is None:
        seeds = np.zeros((len(paths), 2), np.int64)
    failures: list[Exception] = []
    cores = os.cpu_count()
    options = tf.data.Options()
    options.autotune.enabled = False  # at times its thread lets the last batch wait for a second

    # With AutoGraph, these would take longer than all else before the first photo.
    @tf.autograph.experimental.do_not_convert
    def opened(path: Any, number: Any) -> Any:
        return tf.io.read_file(path), number

    @tf.autograph.experimental.do_not_convert
    def pixels(encoded: Any, number: tuple[Any, Any]) -> Any:
        index, seed = number
        return index, decode_or_augment(encoded, height, width, how, seed)

    numbered = tf.data.Dataset.from_tensor_slices(seeds).enumerate()
    if all(sources.is_file(path) for path in paths):
        names = tf.data.Dataset.from_tensor_slices(tf.constant(list(map(str, paths)), tf.string))
        photos = tf.data.Dataset.zip(names, numbered).map(opened, cores)
    else:
        contents = partial(_contents, paths, digests, failures)
        one = tf.TensorSpec([], tf.string)
        coming = tf.data.Dataset.from_generator(contents, output_signature=one)
        photos = tf.data.Dataset.zip(coming, numbered)
    decoded = photos.prefetch(BATCH).map(pixels, cores).ignore_errors()
    following = 0
    for indices, batch in decoded.batch(BATCH).with_options(options):
        empty = BATCH - len(indices)
        positions = indices.numpy()
        missing = sorted(set(range(following, positions[-1] + 1)).difference(positions))
        rejected = {i: decode_error(paths[i], height, width) for i in missing}
        following = int(positions[-1]) + 1
        if empty:
            batch = tf.pad(batch, [[0, empty], [0, 0], [0, 0], [0, 0]])
        yield Decoded(positions, batch, rejected)
    if failures:
        raise failures[0]
    left = {i: decode_error(paths[i], height, width) for i in range(following, len(paths))}
    if left:
        yield Decoded(np.empty(0, np.int64), tf.zeros((BATCH, height, width, 3)), left)


def decode_or_augment(
    encoded: Any, height: int, width: int, how: Augmentation | None, seed: Any
) -> Any:
    """Decode one photo, or the copy of it that a seed, int64 [2], stands for; in a graph.

    Returns:
        float32 [height, width, 3] in [0, 1].
    """
    import tensorflow as tf

    if how is None:
        return decoding.decode(encoded, height, width)
    return tf.cond(
        seed[1] == 0,
        lambda: decoding.decode(encoded, height, width),
        lambda: augmentation.decode(encoded, height, width, how, seed),
    )


def _contents(
    paths: Sequence[Place], digests: Sequence[str] | None, failures: list[Exception]
) -> Iterator[bytes]:
    """Bytes of the photos, in order, up to the first that cannot be read, which goes to `failures`.

    The data set that takes them would not say what was raised in here.
    """
    try:
        for content in sources.stream(paths, digests):
            if isinstance(content, Exception):
                raise content
            yield content
    except Exception as error:
        failures.append(error)


def decode_error(path: Place, height: int, width: int) -> str:
    """Why a photo could not be decoded.

    Raises:
        UserError: where it is no longer there, there is no memory for it, or it can be decoded now.
    """
    import tensorflow as tf

    try:
        decoding.decode(sources.read(path), height, width)
    except OSError as error:
        raise UserError(f"{path} cannot be read any more ({error.strerror}); run again") from None
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"no memory is left to decode {path}; free some, and run again") from None
    except tf.errors.OpError as error:
        # TensorFlow says where the op was before it says what was wrong.
        text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", error.message or "").strip()
        return f"cannot be decoded ({text.splitlines()[0][:100]}); replace or delete it"
    raise UserError(f"{path} can be decoded now: it changed, or memory was short; run again")


@contextmanager
def mixed_precision(precision: str) -> Iterator[None]:
    """Let TensorFlow use a lower precision for a while; what is exported stays float32."""
    import tensorflow as tf

    set_options = tf.config.optimizer.set_experimental_options
    set_options({option: kind == precision for kind, option in _MIXED.items()})
    try:
        yield
    finally:
        set_options(dict.fromkeys(_MIXED.values(), False))
