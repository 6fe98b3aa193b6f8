"""Fixtures of the tests under adverse conditions."""

from pathlib import Path

import pytest

from tests.support.processes import Pipeline


@pytest.fixture
def pipeline(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Pipeline:
    """Return a pipeline on two classes of 24 photos."""
    return Pipeline(photo_dir, tiny_module, tmp_path / "log")
