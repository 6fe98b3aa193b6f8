"""Snapshots: what a long training leaves behind now and then, so that a killed one goes on."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import atomic

_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    zipfile.BadZipFile,
)  # what a damaged one raises
_FACTS = "facts"


@dataclass(frozen=True)
class Checkpoints:
    """The latest snapshot of one training.

    Attributes:
        path: of the file; None keeps nothing.
        every: steps or iterations from one to the next; 0 writes none.
    """

    path: Path | None = None
    every: int = 0

    def due(self, number: int) -> bool:
        """Whether one should be saved after so many steps."""
        return self.path is not None and self.every > 0 and number % self.every == 0

    def save(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Replace the snapshot, whole or not at all.

        Args:
            facts: what JSON can hold.
            arrays: by name.
        """
        assert self.path is not None
        with atomic.write(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_FACTS: np.array(json.dumps(facts)), **arrays})

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What was saved last; None where there is nothing, or nothing that can be read."""
        if self.path is None or not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file) as saved:
                arrays = {name: saved[name] for name in saved.files}
            return json.loads(str(arrays.pop(_FACTS))), arrays
        except _DAMAGED:
            return None

    def clear(self) -> None:
        """Forget it: the training is done."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
