"""Recognizing unknown photos: `make bench-unknown IMAGE_DIRS="groceries trash"`.

Leaves out a third of the classes, trains a head on 70% of the other photos (with 10% for
validation), and compares scores for the remaining 20% with those for photos of the classes left out
(near) and of the other data sets (far), for several draws of classes. All of it is measured again
after all photos, known ones too, were saved at one size and quality. Scanned digits are a data
set as well, and photographs of scikit-image are far photos.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from benchmarks import data
from pipeline.bottlenecks import extraction
from pipeline.head import familiarity, training
from pipeline.head.dataset import Examples, in_memory
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, preparation
from pipeline.modules.loading import Module
from pipeline.photos.listing import list_photos

KEPT = 0.95  # share of known photos that the threshold of the false positive rate keeps
RATE = 0.05
FIRST_DRAW = 5  # the method was chosen with draws 0 to 4, which would flatter it
OURS = "nearest + logit"
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Photos:
    vectors: np.ndarray
    labels: np.ndarray

    def where(self, rows: np.ndarray) -> "Photos":
        return Photos(self.vectors[rows], self.labels[rows])


def read(image_dir: Path, module: Module) -> Photos:
    listed = list_photos(image_dir).photos
    precision = engines.resolve_precision(engines.AUTO)
    paths = [image_dir / path for path in listed["path"]]
    batches = list(extraction.extract(paths, module, precision))
    rows = np.concatenate([batch.indices for batch in batches])
    vectors = np.concatenate([batch.vectors for batch in batches]).astype(np.float16)
    return Photos(vectors.astype(np.float32), listed["label"].to_numpy(object)[rows])


def save_again(source: Path, directory: Path) -> Path:
    """Save all photos as JPEG files of 256 x 256 pixels and quality 80."""
    for path in list_photos(source).photos["path"]:
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source / path) as photo:
            small = photo.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)
        small.save(target, "JPEG", quality=80)
    return directory


def photographs(directory: Path) -> Path:
    """Write the pictures of scikit-image into one folder."""
    (directory / "photos").mkdir(parents=True)
    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.[pj][np]g")):
        with Image.open(path) as photo:
            photo.convert("RGB").save(directory / "photos" / f"{path.stem}.png")
    return directory


class Methods:
    """The scores to compare; larger means more familiar."""

    def __init__(self, head: Head, known: Photos) -> None:
        from sklearn.covariance import ledoit_wolf

        self.head, vectors = head, known.vectors
        self.training = normalized(vectors)
        classes = np.searchsorted(np.array(head.labels, object), known.labels)
        self.means = np.stack([vectors[classes == i].mean(0) for i in range(len(head.labels))])
        self.mean = vectors.mean(0)
        within, _ = ledoit_wolf(vectors - self.means[classes], assume_centered=True)
        # Not shrunk on its own: its smallest variances must not be below those within classes.
        between = self.means[classes] - self.mean
        overall = within + between.T @ between / len(vectors)
        self.within, self.overall = whitening(within), whitening(overall)

    def scores(self, vectors: np.ndarray) -> Scores:
        head, fit = self.head, self.head.familiarity
        assert fit
        logits = head.logits(vectors)
        largest = logits.max(1)
        similar = np.sort(normalized(vectors) @ self.training.T, axis=1)
        within = squared(vectors, self.means, self.within)
        return {
            # In logarithms: probabilities of 1 are ties.
            "max probability": largest - logsumexp(logits),
            "max logit": largest,
            "energy": logsumexp(logits),
            "Mahalanobis": -within,
            "relative Mahalanobis": squared(vectors, self.mean[None], self.overall) - within,
            "5 nearest": similar[:, -5:].mean(1),
            "nearest": similar[:, -1],
            OURS: fit.score(vectors, logits),
        }


def normalized(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / lengths
    return unit


def whitening(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)


def squared(vectors: np.ndarray, means: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    """Return the squared Mahalanobis distance to the nearest mean."""
    from scipy.spatial.distance import cdist

    nearest: np.ndarray = cdist(vectors @ whiten, means @ whiten, "sqeuclidean").min(1)
    return nearest


def logsumexp(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(1)
    sums: np.ndarray = largest + np.log(np.exp(logits - largest[:, None]).sum(1))
    return sums


def compare(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float]:
    """Return the AUROC, and the share of unknown photos above the 5% quantile of known ones."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(known), len(unknown)])
    area = float(roc_auc_score(truth, np.concatenate([known, unknown])))
    return area, float((unknown >= np.quantile(known, 1 - KEPT)).mean())


def measure(
    name: str, sets: Mapping[str, Photos], draw: int, results: dict[str, dict[str, list[float]]]
) -> None:
    """Add the figures of one draw of the classes of a data set to `results`."""
    generator, photos = np.random.default_rng(draw), sets[name]
    labels = sorted(set(photos.labels))
    left_out = generator.permutation(np.array(labels, object))[: max(1, round(len(labels) / 3))]
    near = np.isin(photos.labels, left_out)
    rows = generator.permutation(np.flatnonzero(~near))
    n = len(rows)
    test, validation, known = np.split(rows, [n // 5, n // 5 + n // 10])
    split = [photos.where(part) for part in (known, validation)]
    head, _ = training.train(*(in_memory(part.vectors, part.labels) for part in split))
    assert head.familiarity
    methods = Methods(head, split[0])
    expected = methods.scores(photos.vectors[test])
    unknown = {f"{name}, classes left out": photos.where(near)}
    unknown |= {f"{name} / {other}": sets[other] for other in sets if other != name}
    for pair, strangers in unknown.items():
        for method, scores in methods.scores(strangers.vectors).items():
            area, passed = compare(expected[method], scores)
            results[pair].setdefault(method, []).append(area)
            results[pair].setdefault(f"{method}, passed", []).append(passed)
        share = (head.familiarity.known(methods.scores(strangers.vectors)[OURS]) > RATE).mean()
        results[pair].setdefault("passed", []).append(float(share))
    rejected = (head.familiarity.known(expected[OURS]) <= RATE).mean()
    results[name].setdefault("rejected", []).append(float(rejected))


def mean_of(values: list[list[float]]) -> str:
    """Return the mean over pairs, [pair][draw], with half the 95% interval of its draws."""
    from scipy.stats import t

    draws = np.mean(values, axis=0)
    n = len(draws)
    half = t.ppf(0.975, n - 1) * np.std(draws, ddof=1) / n**0.5 if n > 1 else 0
    return f"{draws.mean():.3f} ± {half:.3f}"


def show(title: str, results: dict[str, dict[str, list[float]]]) -> None:
    """Print one table of AUROCs, one of the unknown photos that pass, and shares at RATE."""
    pairs = [pair for pair in results if "passed" in results[pair]]
    methods = [name for name in results[pairs[0]] if not name.endswith("passed")]
    groups = {pair: [pair] for pair in pairs}
    groups["mean, classes left out"] = [pair for pair in pairs if "left out" in pair]
    groups["mean, other data sets"] = [pair for pair in pairs if "/" in pair]
    for what, suffix in {"AUROC": "", f"passed at {KEPT:.0%} kept": ", passed"}.items():
        print(f"\n{title}: {what}\n\n| known, asked about | {' | '.join(methods)} |")
        print("|---" * (len(methods) + 1) + "|")
        for group, members in groups.items():
            cells = [mean_of([results[pair][m + suffix] for pair in members]) for m in methods]
            print(f"| {group} | {' | '.join(cells)} |")
    for name, figures in results.items():
        for share in ("rejected", "passed"):
            if share in figures:
                print(f"{name}: {share} at unknown_rate {RATE}: {mean_of([figures[share]])}")


def fitting_seconds(count: int = 100_000, features: int = 1280) -> float:
    """Return the time to fit the score to random photos of 100 classes."""
    generator = np.random.default_rng(0)

    def photos(n: int, like: Examples | None = None) -> Examples:
        vectors = generator.random((n, features), np.float32).astype(np.float16)
        labels = generator.integers(0, 100, n).astype(str).astype(object)
        return Examples.read(in_memory(vectors, labels), like=like)

    known = photos(count)
    validation = photos(count // 10, known)
    logits = generator.standard_normal((len(validation), 100), np.float32)
    start = time.perf_counter()
    familiarity.fit(known, validation, logits)
    return time.perf_counter() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-dirs", type=Path, nargs="*", default=[])
    parser.add_argument("--draws", type=int, default=5)
    arguments = parser.parse_args()
    print(f"Fitting the score to 100,000 photos: {fitting_seconds():.1f} s")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folders = {folder.name: folder for folder in arguments.image_dirs}
        folders["digits"] = data.tiny(scratch / "digits")
        known = list(folders)
        folders["scikit-image"] = photographs(scratch / "scikit-image")
        again = {name: save_again(f, scratch / "again" / name) for name, f in folders.items()}
        module = preparation.prepare("efficientnet-lite0", scratch / "modules")
        titles = {"Photos as they are": folders, "All photos at one size and quality": again}
        for title, directories in titles.items():
            sets = {name: read(folder, module) for name, folder in directories.items()}
            results: dict[str, dict[str, list[float]]] = defaultdict(dict)
            for name in known:
                for draw in range(FIRST_DRAW, FIRST_DRAW + arguments.draws):
                    measure(name, sets, draw, results)
            show(title, results)


if __name__ == "__main__":
    main()
