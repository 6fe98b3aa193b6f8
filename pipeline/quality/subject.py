"""What the checks look at, and what they find."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.progress import Progress, silent
from pipeline.quality import neighbours
from pipeline.quality.neighbours import Nearest


@dataclass(frozen=True)
class Subject:
    """A data set with its vectors.

    Attributes:
        listed: the manifest's rows, those set aside included.
        photos: label, path, digest and split of the photos that have a vector, [n].
        vectors: float32 [n, features].
        image_dir: that the paths are relative to.
        height, width: of the module's input, in pixels.
        progress: told how far the longest check is.
    """

    listed: pd.DataFrame
    photos: pd.DataFrame
    vectors: np.ndarray
    image_dir: Path
    height: int
    width: int
    progress: Progress = field(default=silent)

    @cached_property
    def unique(self) -> np.ndarray:
        """Positions of one photo of each content, int64 [u]."""
        return np.flatnonzero(~self.photos["digest"].duplicated().to_numpy())

    @cached_property
    def nearest(self) -> Nearest | None:
        """Of each unique photo, which other one looks most like it; None where too many."""
        if not 2 <= len(self.unique) <= neighbours.MOST:
            return None
        return neighbours.nearest(self.vectors[self.unique], self.progress)


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        kind: one of `quality.KINDS`.
        detail: what is wrong, in a few words.
        paths: the photos that it is about; none where it is about a class.
        label: the class, where it is about one.
        score: how grave or how sure, to sort by; the highest first.
    """

    kind: str
    detail: str
    paths: tuple[str, ...] = ()
    label: str = ""
    score: float = 0
