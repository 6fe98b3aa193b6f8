"""Photos that `make suggest` proposes, against photos drawn at random.

    python -m benchmarks.suggestions --image-dir photos more/photos

A head is trained on 5 photos of each class; then 100 more are suggested or drawn, labelled, and the
head is trained again. Test photos are never labelled, and measure only the result.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.reader import Bottlenecks, SplitReader, concat
from pipeline.bottlenecks.recipe import Recipe
from pipeline.head import training
from pipeline.head.dataset import in_memory
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, preparation
from pipeline.photos import manifest, split
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from pipeline.review import suggestions

_PER_CLASS = 5

Rank = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def main() -> None:
    """Print the accuracy after suggestions and after random photos, for each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-dir", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    for image_dir in arguments.image_dir:
        with tempfile.TemporaryDirectory() as directory:
            parts = read(image_dir, Path(directory))
        print(f"\n{image_dir.name}: {len(parts[split.TESTING].labels)} test photos\n")
        print("| seed | 5 photos per class | random | suggested |\n|---|---|---|---|")
        rows = []
        for seed in range(arguments.seeds):
            rows.append(trial(parts, seed, arguments.count, suggestions.rank))
            print(f"| {seed} | {' | '.join(f'{share:.1%}' for share in rows[-1])} |", flush=True)
        means = np.mean(rows, axis=0)
        print(f"| mean | {' | '.join(f'{share:.1%}' for share in means)} |")
        gain = np.array(rows)[:, 2] - np.array(rows)[:, 1]
        low, high = stats.t.interval(0.95, len(gain) - 1, gain.mean(), stats.sem(gain))
        print(f"\nGain: {gain.mean():+.1%} (95% interval {low:+.1%} to {high:+.1%})")


def read(image_dir: Path, work: Path) -> dict[str, Bottlenecks]:
    """Return the photos of each split with their vectors."""
    module = preparation.prepare("efficientnet-lite0", work / "modules")
    recipe = Recipe(module, engines.resolve_precision(engines.AUTO), "float16")
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule())
    rows, classes = table.to_pandas(), manifest.summary_of(table.schema).classes
    writer.compute(rows[rows["status"] == "ok"], list(classes), image_dir, recipe, work / "store")
    folders = [writer.class_directory(work / "store", recipe, c) for c in classes]
    return {name: concat(list(SplitReader(folders, name).batches())) for name in split.SPLITS}


def trial(
    parts: dict[str, Bottlenecks], seed: int, count: int, rank: Rank
) -> tuple[float, float, float]:
    """Return the accuracy with few photos, with random ones added, and with suggested ones."""
    generator = np.random.default_rng(seed)
    pool, validates = _pool(parts)
    frame = pd.DataFrame({"label": pool.labels})
    few = frame.groupby("label").sample(_PER_CLASS, random_state=generator).index.to_numpy()
    rest = np.setdiff1d(np.arange(len(frame)), few)
    drawn = generator.choice(rest, count, replace=False)
    test = parts[split.TESTING]

    def trained(labelled: np.ndarray) -> Head:
        rows = [labelled[validates[labelled] == part] for part in (False, True)]
        batches = (in_memory(pool.vectors[row], pool.labels[row]) for row in rows)
        return training.train(*batches)[0]

    def accuracy(head: Head) -> float:
        best = head.probabilities(test.vectors).argmax(1)
        return float((np.array(head.labels, object)[best] == test.labels).mean())

    first = trained(few)
    chosen = rank(first.probabilities(pool.vectors[rest]), pool.vectors[rest], count)
    at_random, suggested = (trained(np.r_[few, more]) for more in (drawn, rest[chosen]))
    return accuracy(first), accuracy(at_random), accuracy(suggested)


def _pool(parts: dict[str, Bottlenecks]) -> tuple[Bottlenecks, np.ndarray]:
    """Return the photos that may be labelled, and which of them are validation photos."""
    pool = concat([parts[split.TRAINING], parts[split.VALIDATION]])
    return pool, np.arange(len(pool.labels)) >= len(parts[split.TRAINING].labels)


if __name__ == "__main__":
    main()
