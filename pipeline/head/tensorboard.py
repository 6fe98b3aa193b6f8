"""TensorBoard summaries of a training, written without TensorFlow."""

import importlib.util
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pipeline.errors import UserError

TRAINING, VALIDATION = "train", "validation"  # names of the curves in retrain.py


def require() -> None:
    """Check that tensorboardX is installed.

    Raises:
        UserError: if it is not.
    """
    if not importlib.util.find_spec("tensorboardX"):
        raise UserError(
            "summaries_dir: tensorboardX, which writes the summaries, is not installed; "
            "install it with: pip install 'retrain[tensorboard]'"
        )


class TensorBoardWriter:
    """Write metrics and histograms to a new folder, or nothing without a folder.

    Args:
        directory: folder of this run; those of other runs are not touched.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._writers: dict[str, Any] = {}  # of tensorboardX

    def metrics(self, split: str, step: int, **values: float | None) -> None:
        """Write a point of each curve; None leaves a gap."""
        if self._directory:
            for name, value in values.items():
                if value is not None:
                    self._writer(split).add_scalar(name, value, step)

    def weights(self, step: int, solution: np.ndarray) -> None:
        """Write histograms of a solution's weights and biases."""
        if self._directory:
            self._writer(TRAINING).add_histogram("weights", solution[:-1].ravel(), step)
            self._writer(TRAINING).add_histogram("biases", solution[-1], step)

    def __enter__(self) -> "TensorBoardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, split: str) -> Any:
        if split not in self._writers:
            from tensorboardX import SummaryWriter

            assert self._directory is not None
            self._writers[split] = SummaryWriter(str(self._directory / split))
        return self._writers[split]
