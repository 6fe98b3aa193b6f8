"""Pixel range: whether the module would separate the classes better with another one.

A module that expects pixels from -1 to 1 still returns plausible vectors for pixels from 0 to 1.
The model is then less accurate, and its photos look hard.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.files.places import Place
from pipeline.modules import engines, failures
from pipeline.modules.loading import Module
from pipeline.modules.signatures import BYTE, RANGES, SIGNED, UNIT
from pipeline.photos import split

PIXEL_RANGE = "pixel_range"
# Sampled photos, and the fewest of a class.
_PHOTOS, _PER_CLASS = 240, 4
_SIGNIFICANCE = 0.001  # probability of a false alarm
_LEAST_GAIN = 0.03  # of the accuracy; less is not worth a warning
# Spread of vectors that are nearly equal, and how many times as wide that of a better range is.
# With the right range, the spread was 0.2 or more, and at most 1.8 times as wide with another one.
_COLLAPSED, _LEAST_RATIO = 0.15, 3
# Share of pixels that equal their neighbour: less in photographs, which have noise, than in
# drawings and enlarged digits.
_MOST_FLAT = 0.6
_SCALES = {UNIT: (1, 0), SIGNED: (2, -1), BYTE: (255, 0)}  # factor and offset for [0, 1]


@dataclass(frozen=True)
class Response:
    """What a module makes of photos with one pixel range.

    Attributes:
        correct: whether the mean of its class is nearest to each photo's vector, bool [n].
        loss: cross-entropy of each photo, float64 [n].
        spread: mean distance of the vectors from their mean, relative to its length.
    """

    correct: np.ndarray
    loss: np.ndarray
    spread: float


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield the pixel range that suits the module clearly better than its own, if any.

    Photographs are compared by how well they are assigned to the nearest class mean, leaving the
    photo out. Other images, such as drawings, may be separated best with a wrong range: a range is
    wrong for them only if it makes all vectors nearly equal. Modules with a known range are not
    checked.
    """
    module = context.module
    if module is None or module.image_range_known:
        return
    photos = context.photos[context.photos["split"] == split.TRAINING].sort_values("digest")
    counts = photos["label"].value_counts()
    labels = sorted(counts.index[counts > 1])[: _PHOTOS // _PER_CLASS]
    photos = photos[photos["label"].isin(labels)]
    photos = photos.groupby("label").head(_PHOTOS // max(len(labels), 1))
    if len(labels) < 2:
        return
    indices, vectors, flat = _extract([context.image_dir / p for p in photos["path"]], module)
    left, number = np.unique(photos["label"].to_numpy(str)[indices], return_inverse=True)
    if len(left) < 2:
        return
    responses = {name: _response(each, number) for name, each in vectors.items()}
    best, evidence = _better(responses, module.image_range, flat <= _MOST_FLAT)
    if best:
        yield Finding(
            PIXEL_RANGE,
            f"image_range is {module.image_range}, but {best} seems to suit the module better: "
            f"{evidence} ({len(number)} photos)",
            label="all classes",
        )


def _better(
    responses: dict[str, Response], configured: str, are_photographs: bool
) -> tuple[str, str]:
    """Return the range that is clearly better than the configured one, and the evidence.

    Both are empty if there is none.
    """
    from scipy.stats import wilcoxon

    own = responses[configured]

    def gains(name: str) -> bool:
        gain: float = responses[name].correct.mean() - own.correct.mean()
        return gain >= _LEAST_GAIN

    best = min(responses, key=lambda name: responses[name].loss.mean())
    if are_photographs and gains(best):
        then = responses[best]
        if wilcoxon(own.loss, then.loss, alternative="greater").pvalue < _SIGNIFICANCE:
            shares = (f"{name} {r.correct.mean():.0%}" for name, r in responses.items())
            return best, f"share of photos nearest to the mean of their class: {', '.join(shares)}"
    widest = max(responses, key=lambda name: responses[name].spread)
    is_collapsed = own.spread < min(_COLLAPSED, responses[widest].spread / _LEAST_RATIO)
    # Nearly equal vectors of photographs are no evidence if those of other ranges are as useful.
    if is_collapsed and (gains(widest) or not are_photographs):
        spreads = (f"{name} {r.spread:.2g}" for name, r in responses.items())
        return widest, (
            f"its vectors are nearly equal. Their spread, relative to their mean: "
            f"{', '.join(spreads)}"
        )
    return "", ""


def _extract(
    paths: Sequence[Place], module: Module
) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Decode photos once, and pass them to the module with each range that it accepts.

    Returns:
        The positions of the photos that can be decoded, int64 [n]; their vectors by range, float32
        [n, features]; and the median share of pixels that equal their neighbour.
    """
    tensorflow_import.import_tensorflow()

    forward = engines.load(module, engines.FLOAT32, extraction.BATCH)
    own_factor, own_offset = _SCALES[module.image_range]
    indices: list[np.ndarray] = []
    flat: list[np.ndarray] = []
    vectors = defaultdict[str, list[np.ndarray]](list)
    accepted = list(RANGES)
    for part in extraction.decode(paths, module.input):
        n = len(part.indices)
        indices.append(part.indices)
        steps = np.abs(np.diff(np.asarray(part.pixels)[:n], axis=2)).max(3)
        flat.append((steps < 0.5 / 255).mean((1, 2)))
        for name in tuple(accepted):
            factor, offset = _SCALES[name]
            pixels = (part.pixels * factor + (offset - own_offset)) / own_factor
            try:
                made = failures.call(forward, pixels, f"tfhub_module: {module.handle}")[:n]
            except UserError:
                if name == module.image_range:
                    raise
                accepted.remove(name)
                continue
            vectors[name].append(np.nan_to_num(made, posinf=0, neginf=0))
    together = {name: np.concatenate(vectors[name]) for name in accepted}
    return np.concatenate(indices), together, float(np.median(np.concatenate(flat)))


def _response(vectors: np.ndarray, number: np.ndarray) -> Response:
    """Compare vectors, float32 [n, features], with the means of their classes, int64 [n].

    The mean of a photo's own class leaves the photo out. Vectors are standardized and compared by
    their cosine; a temperature turns cosines into probabilities.
    """
    from scipy.special import log_softmax

    vectors = vectors / (np.abs(vectors).max() or 1)  # the limits below are for values up to 1
    mean = vectors.mean(0)
    spread = np.linalg.norm(vectors - mean, axis=1).mean() / max(np.linalg.norm(mean), 1e-6)
    vectors = (vectors - mean) / np.maximum(vectors.std(0), 1e-6)
    sums = np.stack([vectors[number == c].sum(0) for c in range(number.max() + 1)])
    each, counts = np.arange(len(vectors)), np.bincount(number).astype(np.float32)
    cosine = _unit(vectors) @ _unit(sums / counts[:, None]).T
    own = _unit((sums[number] - vectors) / np.maximum(counts[number] - 1, 1)[:, None])
    cosine[each, number] = (_unit(vectors) * own).sum(1)
    losses = [-log_softmax(cosine * s, axis=1)[each, number] for s in np.geomspace(1, 100, 25)]
    loss = min(losses, key=lambda some: float(some.mean()))
    return Response(cosine.argmax(1) == number, loss.astype(np.float64), float(spread))


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return unit
