"""Photos with their bottlenecks, and the results of later steps."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bottlenecks import reader, writer
from pipeline.bottlenecks.reader import Bottlenecks, BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.bottlenecks.writer import Counts
from pipeline.evaluation import metrics, model_photos
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.export.model_folder import Source
from pipeline.head import softmax_head, training
from pipeline.head.softmax_head import Head
from pipeline.photos import manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule


def write_figures(
    trained: Head, test: BottleneckSource, directory: Path, photos: ModelPhotos | None = None
) -> None:
    """Write the files of an evaluation that later steps read, without its page.

    Evaluations of earlier versions have no photos.
    """
    figures, predictions = metrics.evaluate(trained, test)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "evaluation.json").write_text(json.dumps(asdict(figures)))
    predictions.to_parquet(directory / "predictions.parquet")
    if photos:
        model_photos.write(photos, directory)


@dataclass
class Store:
    """A folder of photos with its bottleneck cache."""

    image_dir: Any  # a local path, or one on an object store
    recipe: Recipe
    path: Path
    rule: SplitRule = field(default_factory=SplitRule)

    def summary(self) -> manifest.Summary:
        table = manifest.build(list_photos(self.image_dir), self.image_dir, self.rule)
        manifest.write(table, self.path / "manifest.parquet")
        return manifest.read_summary(self.path / "manifest.parquet")

    def run(self, progress: Callable[[int, int, str], None] = lambda *_: None) -> Counts:
        classes = list(self.summary().classes)
        rows = manifest.read(self.path / "manifest.parquet")
        usable = rows[rows["status"] == "ok"]
        return writer.compute(usable, classes, self.image_dir, self.recipe, self.path, progress)

    def directories(self) -> list[Path]:
        classes = self.summary().classes
        return [writer.class_directory(self.path, self.recipe, c) for c in classes]

    def part(self, split: str) -> reader.SplitReader:
        return reader.SplitReader(self.directories(), split)

    def rows(self, split: str) -> Bottlenecks:
        return reader.concat(list(self.part(split).batches()))

    def evaluate(self, validation: str = "testing") -> Source:
        """Train and evaluate a head, and return the source of an export."""
        trained = training.train(*(self.part(part).labelled for part in ("training", validation)))
        softmax_head.write(*trained, self.path / "head")
        figures, predictions = metrics.evaluate(trained[0], self.part("testing"))
        directory = self.path / "evaluation"
        directory.mkdir()
        (directory / "evaluation.json").write_text(json.dumps(asdict(figures)), encoding="utf-8")
        predictions.to_parquet(directory / "predictions.parquet")
        manifest_path = self.path / "manifest.parquet"
        return Source(self.path / "head", directory, self.recipe, manifest_path, self.image_dir)

    def frame(self) -> pd.DataFrame:
        return pd.concat([pd.read_parquet(d) for d in self.directories()], ignore_index=True)


def points(
    n: int, classes: int, seed: int, features: int = 20, noise: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy points around one centre per class, on features of different scales."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, features))
    numbers = generator.integers(0, classes, n)
    vectors = centres[numbers] + noise * generator.normal(size=(n, features))
    labels = np.array([f"class {number}" for number in numbers], dtype=object)
    return (vectors * np.logspace(-0.15, 0.15, features)).astype(np.float32), labels


def saved(directory: Path, content: str = "") -> Path:
    """Write the files of a model that a promotion reads."""
    (directory / "saved_model/variables").mkdir(parents=True, exist_ok=True)
    (directory / "saved_model/saved_model.pb").write_text(content)
    (directory / "saved_model/variables/variables.index").write_text(content)
    return directory
