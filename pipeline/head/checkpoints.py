"""Checkpoints: the saved state of a long training, from which it resumes after being killed."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import atomic

_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
_FACTS = "facts"


@dataclass(frozen=True)
class Checkpoints:
    """The latest checkpoint of one training.

    Attributes:
        path: the file; None saves nothing.
        every: steps or iterations between checkpoints; 0 saves none.
    """

    path: Path | None = None
    every: int = 0

    def due(self, number: int) -> bool:
        """Return whether a checkpoint is due after this number of steps."""
        return self.path is not None and self.every > 0 and number % self.every == 0

    def save(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Replace the checkpoint atomically.

        Args:
            facts: JSON-serializable values.
            arrays: arrays by name.
        """
        assert self.path is not None
        with atomic.write(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_FACTS: np.array(json.dumps(facts)), **arrays})

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Return what was saved last; None if there is no readable checkpoint."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file) as saved:
                arrays = {name: saved[name] for name in saved.files}
            return json.loads(str(arrays.pop(_FACTS))), arrays
        except _DAMAGED:
            return None

    def clear(self) -> None:
        """Delete the checkpoint at the end of the training."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
