"""What the checks look at, and what they find."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.modules import Module
from pipeline.progress import Progress, silent
from pipeline.quality import neighbours
from pipeline.quality.neighbours import Nearest
from pipeline.rows import Rows
from pipeline.source import Place


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
    image_dir: Place
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


def subject(
    listed: pd.DataFrame,
    parts: Mapping[str, Rows],
    image_dir: Place,
    module: Module,
    progress: Progress = silent,
) -> Subject:
    """Put together what the checks look at.

    Args:
        listed: the manifest's rows.
        parts: split -> its photos with their vectors.
        image_dir: that the paths are relative to.
        module: that made the vectors.
        progress: told how far the longest check is.
    """
    photos = [
        pd.DataFrame({"label": r.labels, "path": r.paths, "digest": r.digests, "split": part})
        for part, r in parts.items()
    ]
    vectors = np.concatenate([rows.vectors for rows in parts.values()])
    together = pd.concat(photos, ignore_index=True)
    return Subject(listed, together, vectors, image_dir, module.height, module.width, progress)


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
