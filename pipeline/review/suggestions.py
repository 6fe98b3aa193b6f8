"""What to label next: the photos without a label from which a model would learn most.

A photo teaches much if the model hesitates between two classes, and if it does not look like others
that are labelled anyway. So the photos are grouped by their vectors, weighted by the uncertainty,
and the one nearest to the centre of each group is suggested (Zhdanov, "Diverse mini-batch active
learning", arXiv 1901.05954, 2019).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.evaluation.data_checks.checks import Kind
from pipeline.files import atomic, output_store
from pipeline.review.evidence import TOP, Guess
from pipeline.review.queue import Entry, Photo

FORMAT_VERSION = 2  # raise it when the ranking or the columns change
FOLDER = "suggestions"  # in the output folder
KIND = "unlabelled"  # of entries in the review
KINDS = {
    KIND: Kind(
        "Photos to label next",
        "The model would learn most from their labels. A photo is uncertain if its two best "
        "classes are about equally probable. If few of the known photos fit no better, the photo "
        "may show none of the classes, however certain the model is. The labels count once the "
        "photos are in image_dir; the command that copies them there is shown at the end.",
    )
}
_CANDIDATES = 10  # photos that are grouped, the most uncertain ones, per photo wanted
_GUESSES = [(f"label_{i}", f"score_{i}") for i in range(1, TOP + 1)]
COLUMNS = ["path", "digest", "uncertainty", "known", *(name for pair in _GUESSES for name in pair)]


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """Return how close the two best classes of each photo are.

    Args:
        probabilities: float32 [n, classes], at least two classes.

    Returns:
        float32 [n], from 0 (certain) to 1 (equally probable).
    """
    best = np.sort(probabilities, axis=1)[:, -2:]
    closeness: np.ndarray = 1 - (best[:, 1] - best[:, 0])
    return closeness


def rank(probabilities: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the photos whose labels would teach most, most uncertain first.

    Args:
        probabilities: of the classes, float32 [n, classes].
        vectors: float32 [n, features].
        count: number of photos wanted.

    Returns:
        int64 [count], or fewer if there are fewer different photos, or if groups share one.
    """
    import faiss

    weight = uncertainty(probabilities)
    order = np.argsort(-weight, kind="stable")[: _CANDIDATES * count]
    unit = vectors[order] / np.maximum(np.linalg.norm(vectors[order], axis=1, keepdims=True), 1e-6)
    different = np.sort(np.unique(unit, axis=0, return_index=True)[1])
    order, unit = order[different], unit[different]
    if len(order) <= count:
        return order
    distance, first = np.full(len(unit), 4, np.float32), list[int]()  # unit vectors are closer
    for _ in range(count):
        first.append(int((weight[order] * distance).argmax()))
        distance = np.minimum(distance, ((unit - unit[first[-1]]) ** 2).sum(1))
    grouped = faiss.Kmeans(unit.shape[1], count, min_points_per_centroid=1)
    grouped.train(unit, weights=weight[order], init_centroids=unit[first])
    _, nearest = faiss.knn(grouped.centroids, unit, 1)  # the photo nearest to each centre
    chosen: np.ndarray = order[np.unique(nearest)]
    return chosen


def table(
    photos: pd.DataFrame,
    labels: tuple[str, ...],
    probabilities: np.ndarray,
    vectors: np.ndarray,
    count: int,
    known: np.ndarray,
) -> pd.DataFrame:
    """Return the suggested photos with their TOP most probable labels, most uncertain first.

    Args:
        photos: path and digest of photos without a label.
        labels: the classes.
        probabilities, vectors, count: as in `rank`.
        known: share of the known photos that fit no better than each photo, float32 [n].

    Returns:
        A table of COLUMNS.
    """
    chosen = rank(probabilities, vectors, count)
    rows = photos[["path", "digest"]].iloc[chosen].reset_index(drop=True)
    rows["uncertainty"] = uncertainty(probabilities[chosen]).round(4)
    rows["known"] = known[chosen]
    best = np.argsort(-probabilities[chosen], axis=1, kind="stable")[:, :TOP]
    for i, (label, score) in enumerate(_GUESSES):
        exists = i < best.shape[1]
        rows[label] = [labels[row[i]] if exists else "" for row in best]
        rows[score] = [
            probabilities[p, row[i]] if exists else 0 for p, row in zip(chosen, best, strict=True)
        ]
    return rows[COLUMNS].round(4)


def write(suggested: pd.DataFrame, path: Path) -> None:
    """Write suggestions as CSV."""
    with atomic.write(path) as temporary:
        suggested.to_csv(temporary, index=False)


def newest_file(output_dir: Path) -> Path | None:
    """Return the file of the suggestions made or asked for last, or None."""
    output_store.open_store(output_dir).fetch_newest(output_dir / FOLDER)
    paths = (output_dir / FOLDER).glob("[!.]*.csv")
    return max(paths, key=lambda path: path.stat().st_mtime_ns, default=None)


def newest(output_dir: Path) -> pd.DataFrame:
    """Return the suggestions made or asked for last; none if there are no suggestions."""
    file = newest_file(output_dir)
    return read(file) if file else pd.DataFrame(columns=COLUMNS)


def read(file: Path) -> pd.DataFrame:
    """Return suggestions, a table of COLUMNS."""
    texts = dict.fromkeys(("path", "digest", *(label for label, _ in _GUESSES)), str)
    rows = pd.read_csv(file, dtype=texts, keep_default_na=False)
    return rows.reindex(columns=COLUMNS)  # files of earlier versions lack `known`


def entries(suggested: pd.DataFrame) -> Iterator[Entry]:
    """Yield suggestions as entries of the review."""
    columns = suggested[["path", "digest", "uncertainty", "known"]].to_numpy(object)
    for path, digest, share, known in columns:
        # Without validation photos, `known` is always 1.
        fit = f"; {known:.0%} of the known photos fit no better" if known < 1 else ""
        yield Entry(KIND, f"uncertainty {share:.0%}{fit}", (Photo(digest, path, "", ""),))


def decided_entries(photos: pd.DataFrame) -> Iterator[Entry]:
    """Yield photos with decisions, which are no longer suggested.

    Args:
        photos: their digest and path.
    """
    for digest, path in photos[["digest", "path"]].itertuples(index=False):
        yield Entry(KIND, "decided earlier", (Photo(digest, path, "", ""),))


def guesses(suggested: pd.DataFrame) -> dict[str, list[Guess]]:
    """Return the most probable labels of suggested photos, by digest."""
    return {
        row["digest"]: [
            Guess(row[name], float(row[score]), []) for name, score in _GUESSES if row[name]
        ]
        for row in suggested.to_dict("records")
    }
