"""Speed: how long modules take per photo on this machine."""

import statistics
import time
from collections.abc import Sequence

from pipeline import tensorflow_import
from pipeline.modules import consistency, engines
from pipeline.modules.loading import Module

_ROUNDS = 7


def seconds_per_photo(modules: Sequence[Module], precision: str, batch: int) -> list[float]:
    """Measure how long each module takes per photo, without reading and decoding.

    The modules take turns, since a machine's speed varies, and the median of a module's turns
    counts.

    Args:
        modules: modules with the engine to use.
        precision: as in `engines.load`.
        batch: photos per batch.
    """
    tensorflow_import.import_tensorflow()
    with engines.mixed_precision(precision):
        forwards = [engines.load(module, precision, batch) for module in modules]
        images = [consistency.images(m.height, m.width, batch) for m in modules]
        turns: list[list[float]] = [[] for _ in modules]
        for _ in range(_ROUNDS + 1):
            for forward, photos, seconds in zip(forwards, images, turns, strict=True):
                start = time.perf_counter()
                forward(photos)
                seconds.append(time.perf_counter() - start)
    # The first turn also prepares the engine.
    return [statistics.median(seconds[1:]) / batch for seconds in turns]
