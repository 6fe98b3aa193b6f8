"""Feature extraction: decode photos and run the module on them, overlapped and in batches."""

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.modules import engines, failures
from pipeline.modules.loading import Module
from pipeline.photos import sources
from pipeline.pixels import augmentation as augmenting
from pipeline.pixels import decoding
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import InputSpec

BATCH = 32  # photos; 64 were no faster on two cores
AHEAD = 8  # batches that are decoded while the module is loaded
_UNIFORM = 2 / 255  # standard deviation of the pixels; photos of a clear sky have more


@dataclass(frozen=True)
class Batch:
    """The vectors of a few photos.

    Attributes:
        indices: int64 [n], positions in the list of paths.
        vectors: float32 [n, features].
        rejected: maps positions to the reason why the photo cannot be decoded.
        uniform: positions of the photos whose pixels are nearly all the same.
    """

    indices: np.ndarray
    vectors: np.ndarray
    rejected: dict[int, str]
    uniform: tuple[int, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """The pixels of a few photos.

    Attributes:
        indices: int64 [n], positions in the list of paths.
        pixels: float32 tensor [BATCH, height, width, 3] in [0, 1]; zeros beyond the n-th.
        rejected: maps positions to the reason why the photo cannot be decoded.
    """

    indices: np.ndarray
    pixels: Any
    rejected: dict[int, str]


def extract(
    paths: Sequence[Place],
    module: Module,
    precision: str,
    augmentation: Augmentation | None = None,
    seeds: np.ndarray | None = None,
    digests: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Yield the vectors of photos, in order.

    Args:
        paths: the photos.
        module: the feature extractor.
        precision: float32; or bfloat16 or float16 with float32 accumulation.
        augmentation: distortions, if some of `paths` stand for augmented copies.
        seeds: int64 [len(paths), 2], as returned by `augmentation.seed`; by default, all of
            `paths` stand for the photos themselves.
        digests: as in `decode`.

    Raises:
        UserError: if a file does not exist any more, or the module cannot be loaded or raises an
            error.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    on_gpu = bool(tf.config.list_physical_devices("GPU"))

    def run(part: Decoded) -> Batch:
        n = len(part.indices)
        name, photos = f"tfhub_module: {module.handle}", [paths[i] for i in part.indices]
        vectors = failures.call(forward.result(), part.pixels, name, photos)
        uniform = part.indices[is_uniform(np.asarray(part.pixels)[:n])]
        return Batch(part.indices, vectors[:n], part.rejected, tuple(uniform.tolist()))

    # The module runs in its own thread: photos are decoded while it is loaded, and it has work
    # while the caller processes a batch.
    with engines.mixed_precision(precision), ThreadPoolExecutor(1) as worker:
        forward = worker.submit(engines.load, module, precision, BATCH)
        running: deque[Future[Batch]] = deque()
        failure: UserError | None = None
        try:
            for part in decode(paths, module.input, augmentation, seeds, digests):
                running.append(worker.submit(run, part))
                if running[0].done() or len(running) == AHEAD:
                    while len(running) > 1:
                        yield running.popleft().result()
                    if not on_gpu:
                        wait(
                            running
                        )  # both use all cores: decoding at the same time would be slower
        except UserError as error:  # about one photo; those before it are still extracted
            failure = error
        for batch in running:
            yield batch.result()
        if failure:
            raise failure


def is_uniform(pixels: np.ndarray) -> np.ndarray:
    """Return which photos, float32 [n, height, width, 3], are nearly of one colour; bool [n]."""
    step = max(1, min(pixels.shape[1:3]) // 28)  # some hundred pixels suffice, and take little time
    sampled = np.ascontiguousarray(np.moveaxis(pixels[:, ::step, ::step], 3, 1))
    uniform: np.ndarray = sampled.std((2, 3)).max(1, initial=0) < _UNIFORM
    return uniform


def decode(
    paths: Sequence[Place],
    spec: InputSpec,
    augmentation: Augmentation | None = None,
    seeds: np.ndarray | None = None,
    digests: Sequence[str] | None = None,
) -> Iterator[Decoded]:
    """Yield the pixels of photos, in order. Files are read ahead and decoded on request.

    Args:
        paths: the photos.
        spec: the pixels wanted.
        augmentation, seeds: as in `extract`.
        digests: expected SHA-256 of the photos in hex, checked only for photos that are not local
            files of their own: `writer` compares the modification times of those.

    Raises:
        UserError: if a file does not exist any more, or an object store fails.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    if seeds is None:
        seeds = np.zeros((len(paths), 2), np.int64)
    failure: Exception | None = None
    cores = os.cpu_count()
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread sometimes delays the last batch by a second

    # AutoGraph would take longer than everything else before the first photo.
    @tf.autograph.experimental.do_not_convert
    def opened(path: Any, number: Any) -> Any:
        return tf.io.read_file(path), number

    @tf.autograph.experimental.do_not_convert
    def pixels(encoded: Any, number: tuple[Any, Any]) -> Any:
        index, seed = number
        return index, decode_or_augment(encoded, spec, augmentation, seed)

    def contents() -> Iterator[bytes]:
        nonlocal failure
        try:
            for content in sources.stream(paths, digests):
                if isinstance(content, Exception):
                    raise content
                yield content
        except Exception as error:  # TensorFlow would not pass it on
            failure = error

    numbered = tf.data.Dataset.from_tensor_slices(seeds).enumerate()
    if all(sources.is_file(path) for path in paths):
        names = tf.data.Dataset.from_tensor_slices(tf.constant(list(map(str, paths)), tf.string))
        photos = tf.data.Dataset.zip(names, numbered).map(opened, cores)
    else:
        scalar = tf.TensorSpec([], tf.string)
        encoded_photos = tf.data.Dataset.from_generator(contents, output_signature=scalar)
        photos = tf.data.Dataset.zip(encoded_photos, numbered)
    decoded = photos.prefetch(BATCH).map(pixels, cores).ignore_errors()
    following = 0
    for indices, batch in decoded.batch(BATCH).with_options(options):
        empty = BATCH - len(indices)
        positions = indices.numpy()
        missing = sorted(set(range(following, positions[-1] + 1)).difference(positions))
        rejected = {i: decode_error(paths[i], spec) for i in missing}
        following = int(positions[-1]) + 1
        if empty:
            batch = tf.pad(batch, [[0, empty], [0, 0], [0, 0], [0, 0]])
        yield Decoded(positions, batch, rejected)
    if failure:
        raise failure
    left = {i: decode_error(paths[i], spec) for i in range(following, len(paths))}
    if left:
        yield Decoded(np.empty(0, np.int64), tf.zeros((BATCH, spec.height, spec.width, 3)), left)


def decode_or_augment(
    encoded: Any, spec: InputSpec, augmentation: Augmentation | None, seed: Any
) -> Any:
    """Decode a photo, or the augmented copy that a seed, int64 [2], stands for, in a graph.

    Returns:
        float32 [height, width, 3] in [0, 1].
    """
    import tensorflow as tf

    if augmentation is None:
        return decoding.decode(encoded, spec)
    return tf.cond(
        seed[1] == 0,
        lambda: decoding.decode(encoded, spec),
        lambda: augmenting.decode(encoded, spec, augmentation, seed),
    )


def decode_error(path: Place, spec: InputSpec) -> str:
    """Return why a photo cannot be decoded.

    Raises:
        UserError: if it does not exist any more, memory is short, or it can be decoded now.
    """
    import tensorflow as tf

    try:
        problem = decode_problem(sources.read(path), spec)
    except OSError as error:
        raise UserError(f"{path} cannot be read any more ({error.strerror}); run again") from None
    except tf.errors.ResourceExhaustedError:
        raise UserError(
            f"out of memory while decoding {path}; free memory, and run again"
        ) from None
    if not problem:
        raise UserError(
            f"{path} failed to decode once but decodes now (file changed or out of memory); run "
            "again"
        )
    return problem


def decode_problem(encoded: bytes, spec: InputSpec) -> str:
    """Return why a photo cannot be decoded; empty if it can.

    Raises:
        tf.errors.ResourceExhaustedError: if memory is short.
    """
    import tensorflow as tf

    try:
        decoding.decode(encoded, spec)
    except tf.errors.ResourceExhaustedError:
        raise
    except tf.errors.OpError as error:
        # TensorFlow's message follows the position of the operation, and precedes its name.
        text = re.sub(r"\[\[.*", "", error.message or "", flags=re.S)
        text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", text).strip()
        return f"cannot be decoded ({text.splitlines()[-1][:100]}); replace it"
    return ""
