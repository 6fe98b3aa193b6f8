"""Feature extraction on a Ray cluster: `extraction.extract` for many machines.

Decoding runs as tasks on any free processor, and streams into actors that hold the module, one per
GPU if there are any. Ray repeats the work of a lost node on another one.
"""

import functools
import importlib.util
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.bottlenecks.extraction import BATCH, Batch
from pipeline.errors import UserError
from pipeline.files import places
from pipeline.files.places import Place
from pipeline.modules import engines, failures
from pipeline.modules.loading import Module
from pipeline.photos import sources
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import InputSpec

BLOCK = 128  # photos per decoding task, which is repeated if its node is lost


def require() -> None:
    """Check that Ray is installed.

    Raises:
        UserError: if it is not.
    """
    if not importlib.util.find_spec("ray"):
        raise UserError("engine is ray, but Ray is missing; run: pip install 'retrain[ray]'")


def extract(
    paths: Sequence[Place],
    module: Module,
    precision: str,
    augmentation: Augmentation | None = None,
    seeds: np.ndarray | None = None,
    digests: Sequence[str] = (),
    actors: int = 0,
) -> Iterator[Batch]:
    """Yield the vectors of photos, in any order.

    All nodes must find the photos and the module's folder under the same paths.

    Args:
        paths, module, precision, augmentation, seeds, digests: as in `extraction.extract`.
        actors: number of actors that hold the module; 0: one per GPU, or one per node if there is
            no GPU.

    Raises:
        UserError: if a photo does not exist any more, or Ray is not installed or does not answer.
    """
    with _cluster():
        import pyarrow as pa
        import ray.data
        from ray.data import ActorPoolStrategy

        photos = {"path": [places.absolute(path) for path in paths]}
        photos["digest"] = list(digests) or [""] * len(paths)
        if seeds is None:
            seeds = np.zeros((len(paths), 2), np.int64)
        table = pa.table(
            {"index": range(len(paths)), **photos, "seed": seeds[:, 0], "copy": seeds[:, 1]}
        )
        blocks = [table.slice(start, BLOCK) for start in range(0, len(paths), BLOCK)]
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())
        max_actors = actors or gpus or nodes
        decoded = ray.data.from_arrow(blocks).map_batches(
            _decode,
            batch_size=None,
            batch_format="numpy",
            fn_kwargs={"spec": module.input, "augmentation": augmentation},
        )
        extracted = decoded.map_batches(
            _Extractor,
            batch_size=BATCH,
            batch_format="numpy",
            fn_constructor_args=(module, precision),
            compute=ActorPoolStrategy(min_size=min(max_actors, actors or 1), max_size=max_actors),
            # Without CPUs reserved for it, an actor can restart on any remaining node.
            **({"num_gpus": 1} if gpus else {"num_cpus": 0}),
        )
        try:
            for part in extracted.iter_batches(batch_size=None, batch_format="numpy"):
                yield _batch(part)
        except ray.exceptions.RayError as error:
            cause = str(error).strip().splitlines()[-1]
            raise UserError(
                f"the Ray cluster failed: {cause}; run again: finished work is kept"
            ) from error


def _batch(part: dict[str, np.ndarray]) -> Batch:
    for mistake in filter(None, part["mistake"]):
        raise UserError(mistake)
    index, reason = part["index"], part["reason"]
    good = reason == ""
    rejected = dict(zip(index[~good].tolist(), reason[~good].tolist(), strict=True))
    uniform = index[good & part["uniform"]]
    return Batch(index[good], part["vector"][good], rejected, tuple(uniform.tolist()))


@functools.lru_cache(maxsize=1)
def _decoder(spec: InputSpec, augmentation: Augmentation | None) -> Any:
    """Return `extraction.decode_or_augment`, compiled once per process."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)]

    @tf.function(input_signature=signature, autograph=False)
    def decode(encoded: Any, seed: Any) -> Any:
        return extraction.decode_or_augment(encoded, spec, augmentation, seed)

    return decode


def _decode(
    block: dict[str, np.ndarray], spec: InputSpec, augmentation: Augmentation | None
) -> Iterator[dict[str, np.ndarray]]:
    """Task: decode photos to batches of pixels, float32 [n, height, width, 3]."""
    decode = _decoder(spec, augmentation)
    import tensorflow as tf

    for start in range(0, len(block["index"]), BATCH):
        part = {name: column[start : start + BATCH] for name, column in block.items()}
        pixels = np.zeros((len(part["index"]), spec.height, spec.width, 3), np.float32)
        reasons, mistakes = ([""] * len(pixels) for _ in range(2))
        seeds = np.stack([part["seed"], part["copy"]], axis=1)
        photo_paths = [places.parse(path) for path in part["path"]]
        for i, content in enumerate(sources.stream(photo_paths, part["digest"].tolist())):
            if isinstance(content, UserError):
                mistakes[i] = str(content)
                continue
            try:
                pixels[i] = decode(content, seeds[i]).numpy()
            except tf.errors.OpError:
                try:
                    reasons[i] = extraction.decode_error(photo_paths[i], spec)
                except UserError as error:
                    mistakes[i] = str(error)
        problems = {"reason": np.array(reasons), "mistake": np.array(mistakes)}
        yield {"index": part["index"], "path": part["path"], "pixels": pixels, **problems}


class _Extractor:
    """Actor: load the module once, and turn pixels into vectors."""

    def __init__(self, module: Module, precision: str) -> None:
        tensorflow_import.import_tensorflow()
        self.forward = engines.load(module, precision, BATCH)
        self.module = module
        self.precision = precision

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        pixels = batch.pop("pixels")
        full = np.zeros((BATCH, *pixels.shape[1:]), np.float32)
        full[: len(pixels)] = pixels
        name, photos = f"tfhub_module: {self.module.handle}", batch.pop("path").tolist()
        vectors = np.zeros((len(pixels), self.module.features), np.float32)
        try:
            with engines.mixed_precision(self.precision):
                called = failures.call(self.forward, tf.constant(full), name, photos)
            vectors[:] = called[: len(pixels)]
        except UserError as error:
            batch["mistake"] = np.full(len(pixels), str(error))
        return {**batch, "vector": vectors, "uniform": extraction.is_uniform(pixels)}


@contextmanager
def _cluster() -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS, or start one on this machine in this context."""
    require()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        # Ray listens on all addresses, and refuses clients without this token.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", uuid.uuid4().hex)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address:
            ray.init(address, **settings)
        else:
            ray.init("local", include_dashboard=False, _node_ip_address="127.0.0.1", **settings)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"engine is ray, but no cluster answers at RAY_ADDRESS {address!r}: "
            f"{str(error).splitlines()[0]}; start it, or unset RAY_ADDRESS"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()
