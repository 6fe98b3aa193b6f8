"""Small data sets with faults, made of numbers and of real files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.photos import inspection
from pipeline.pixels.decoding import InputSpec
from tests.support.checks import Maker


@pytest.fixture
def make_subject(tmp_path: Path) -> Maker:
    """A data set of vectors; by default, each photo has a digest of its own and trains."""

    def make(
        vectors: np.ndarray,
        labels: list[str],
        digests: list[str] | None = None,
        splits: list[str] | None = None,
        paths: list[str] | None = None,
    ) -> CheckContext:
        n = len(labels)
        frame = pd.DataFrame(
            {
                "label": labels,
                "path": paths or [f"{label}/{i}.png" for i, label in enumerate(labels)],
                "digest": digests or [f"{i:064x}" for i in range(n)],
                "split": splits or ["training"] * n,
            }
        )
        listed = frame.assign(
            width=64,
            height=64,
            format="PNG",
            grey=False,
            status=inspection.OK,
            problem="",
            size=1000,
        )
        halves = np.array_split(vectors.astype(np.float16), 2)
        return CheckContext(listed, frame, lambda: iter(halves), tmp_path, InputSpec(64, 64))

    return make
