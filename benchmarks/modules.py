"""Time and memory of a built-in module: `python -m benchmarks.modules`."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.modules import efficientnet_lite, engines, loading, preparation

_BATCHES = 4


def main() -> None:
    """Prepare and load a module, and run it on photos of noise; the best of five times counts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    names = list(efficientnet_lite.VARIANTS)
    parser.add_argument("name", nargs="?", choices=names, default=names[0])
    name = parser.parse_args().name
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        module = preparation.prepare(name, Path(scratch))
        prepared = time.perf_counter() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        loading._load.cache_clear()
        start = time.perf_counter()
        call, _ = loading.load(module)
        loaded = time.perf_counter() - start
        size = sum(p.stat().st_size for p in Path(module.directory).rglob("*") if p.is_file())
        print(f"{name}: prepared in {prepared:.2f} s, {memory} MB peak memory including TensorFlow")
        print(f"loaded in {loaded:.2f} s, {size / 2**20:.1f} MB on disk")
        shape = [extraction.BATCH, module.height, module.width, 3]
        photos = tf.random.stateless_uniform(shape, [0, 0])
        for precision in (engines.FLOAT32, engines.BFLOAT16):
            with engines.mixed_precision(precision):
                forward = tf.function(call, input_signature=[tf.TensorSpec(shape)])
                forward(photos).numpy()
                best = min(_seconds(forward, photos) for _ in range(5))
            print(f"{precision}: {_BATCHES * extraction.BATCH / best:.0f} photos per second")


def _seconds(forward: object, photos: object) -> float:
    start = time.perf_counter()
    for _ in range(_BATCHES):
        forward(photos).numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
