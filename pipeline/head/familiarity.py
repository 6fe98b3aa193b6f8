"""Familiarity: how well a photo fits the photos that a head was trained on.

The score of a photo adds two measures. The similarity to the nearest training photo (Sun, Ming, Zhu
and Li, "Out-of-distribution detection with deep nearest neighbors", 2022) recognizes photos of
something else; the largest logit (Hendrycks et al., "Scaling out-of-distribution detection for
real-world settings", 2022) recognizes classes that resemble the known ones. The validation photos
provide the units in which both are measured, and the scores of known photos.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline.errors import UserError
from pipeline.head.dataset import Examples

FILE = "familiarity.npz"
MAX_REFERENCES = 4096  # training photos; with 128 directions, they take 2 MB
MAX_DIRECTIONS = 128
MAX_LEVELS = 1000  # steps of `known`
_DEVIATION = 0.16  # this quantile of a Gaussian is one standard deviation below the median
_CAP = 0.95  # quantile
_STRANGE = np.float32(-1e9)


@dataclass(frozen=True)
class Familiarity:
    """The parameters of the score, and the scores of the validation photos.

    Attributes:
        directions: float32 [features, d], orthonormal; similarity is computed in these directions.
        references: float32 [d, r], normalized vectors of training photos.
        similarity_units, logit_units: float32 [2], zero and unit of each measure.
        cap: float32, above which a larger logit does not count, in its units: far from all training
            photos, logits can be arbitrarily large.
        other: int64, index of the class that stands for unknown photos; -1 if there is none. What
            is classified as this class has the lowest score.
        levels: float32 [m], ascending scores of the validation photos of known classes; at most
            `MAX_LEVELS` quantiles of them.
    """

    directions: np.ndarray
    references: np.ndarray
    similarity_units: np.ndarray
    logit_units: np.ndarray
    cap: np.ndarray
    other: np.ndarray
    levels: np.ndarray

    def score(self, vectors: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the scores of photos, float32 [n]; larger is more familiar.

        Args:
            vectors: float32 [n, features].
            logits: float32 [n, classes].
        """
        return self.combine(self.similarity(vectors), logits)

    def similarity(self, vectors: np.ndarray) -> np.ndarray:
        """Return the cosine similarity to the nearest of the references, float32 [n]."""
        products = (vectors @ self.directions) @ self.references
        nearest: np.ndarray = products.max(1) / np.linalg.norm(vectors, axis=1).clip(1e-12)
        return nearest

    def combine(self, similarity: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the scores of photos, float32 [n], from their similarity and logits."""
        distance = _in_units(similarity, self.similarity_units)
        confidence = np.minimum(_in_units(logits.max(1), self.logit_units), self.cap)
        return np.where(logits.argmax(1) == self.other, _STRANGE, distance + confidence)

    def known(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of the known photos that fit no better, float32 [n], from 0 to 1.

        The photo itself counts as one of them. Therefore, at most a share p of the known photos has
        a value of p or less, however few validation photos there are: it is a conformal p-value
        (Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", 2005). It is 0 for
        photos that are classified as the class of unknown photos, which may be more than that.
        """
        worse = np.searchsorted(self.levels, scores, side="right")
        shares = (worse + 1) / np.float32(len(self.levels) + 1)
        return np.where(scores <= _STRANGE, 0, shares).astype(np.float32)


def fit(
    training: Examples, validation: Examples, logits: np.ndarray, other: int = -1
) -> Familiarity:
    """Fit the score to photos.

    Args:
        training: the training photos; one pass over them selects the references.
        validation: the validation photos. Without any, `known` is always 1.
        logits: float32 [n, classes], of the validation photos, by a head that was not trained on
            them.
        other: index of the class whose photos are not known; -1 if there is none.
    """
    sample = _unscaled(training, training.gather(_sample(training.classes, other)))
    sample /= np.linalg.norm(sample, axis=1, keepdims=True).clip(1e-12)
    directions = _principal_directions(sample)
    fitted = Familiarity(
        directions=directions,
        references=np.ascontiguousarray((sample @ directions).T),
        similarity_units=_units(np.empty(0)),
        logit_units=_units(np.empty(0)),
        cap=np.array(np.inf, np.float32),
        other=np.array(other),
        levels=np.empty(0, np.float32),
    )
    known = validation.classes != other
    if not known.any():
        return fitted
    blocks = [fitted.similarity(_unscaled(validation, b)) for _, b in validation.blocks()]
    similarity, logits = np.concatenate(blocks)[known], logits[known]
    largest, units = logits.max(1), _units(logits.max(1))
    fitted = replace(
        fitted,
        similarity_units=_units(similarity),
        logit_units=units,
        cap=np.quantile(_in_units(largest, units), _CAP).astype(np.float32),
    )
    levels = np.sort(fitted.combine(similarity, logits))
    if len(levels) > MAX_LEVELS:
        ranks = np.linspace(0, len(levels) - 1, MAX_LEVELS).round().astype(int)
        levels = levels[ranks]
    return replace(fitted, levels=levels)


def write(familiarity: Familiarity, directory: Path) -> None:
    """Write `familiarity.npz` into an existing folder."""
    arrays = {field.name: getattr(familiarity, field.name) for field in fields(Familiarity)}
    np.savez(directory / FILE, **arrays)


def read(directory: Path) -> Familiarity | None:
    """Read the familiarity in the folder of a head; None for a head of an earlier version.

    Raises:
        UserError: if the file is damaged.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Familiarity(**{field.name: arrays[field.name] for field in fields(Familiarity)})
    except (BadZipFile, ValueError, LookupError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {directory}, and run again") from None


def _sample(classes: np.ndarray, other: int) -> np.ndarray:
    """Return at most `MAX_REFERENCES` rows of known classes, as evenly from each as possible."""
    import pandas as pd

    rows = np.random.default_rng(0).permutation(np.flatnonzero(classes != other))
    position = pd.Series(classes[rows]).groupby(classes[rows]).cumcount().to_numpy()
    return np.sort(rows[np.argsort(position, kind="stable")[:MAX_REFERENCES]])


def _principal_directions(vectors: np.ndarray) -> np.ndarray:
    """Return the directions that contain most of the vectors' squared length, [features, d]."""
    from scipy.linalg import eigh

    features = vectors.shape[1]
    last = [max(features - MAX_DIRECTIONS, 0), features - 1]
    _, directions = eigh(vectors.T @ vectors, subset_by_index=last)
    kept: np.ndarray = np.ascontiguousarray(directions, np.float32)
    return kept


def _unscaled(examples: Examples, vectors: np.ndarray) -> np.ndarray:
    """Return standardized vectors as the module computes them."""
    restored: np.ndarray = vectors * examples.scaling.deviation + examples.scaling.mean
    return restored


def _units(values: np.ndarray) -> np.ndarray:
    """Return the median, and the distance from it to one deviation below, float32 [2]."""
    if not len(values):
        return np.array([0, 1], np.float32)
    median = np.median(values)
    return np.array([median, max(median - np.quantile(values, _DEVIATION), 1e-6)], np.float32)


def _in_units(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    converted: np.ndarray = (values - units[0]) / units[1]
    return converted
