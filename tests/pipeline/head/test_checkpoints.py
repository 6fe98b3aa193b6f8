"""Snapshots: saved whole, read again, and of no harm when they are damaged."""

import os
from pathlib import Path

import numpy as np

from pipeline.head.checkpoints import Checkpoints


def saved(path: Path) -> Checkpoints:
    snapshots = Checkpoints(path / "training.npz", 5)
    snapshots.save({"step": 3, "best": {"x": None}}, {"a": np.eye(2, dtype=np.float32)})
    return snapshots


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    loaded = saved(tmp_path).load()
    assert loaded
    facts, arrays = loaded
    assert facts == {"step": 3, "best": {"x": None}}
    assert list(arrays) == ["a"]
    assert np.array_equal(arrays["a"], np.eye(2))
    assert arrays["a"].dtype == np.float32


def test_the_latest_counts_and_nothing_else_is_left(tmp_path: Path) -> None:
    saved(tmp_path).save({"step": 4}, {})
    assert saved(tmp_path).load() != ({"step": 4}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["training.npz"]


def test_a_damaged_one_counts_as_none(tmp_path: Path) -> None:
    snapshots = saved(tmp_path)
    size = (tmp_path / "training.npz").stat().st_size
    for left in (size // 2, 10, 0):
        os.truncate(tmp_path / "training.npz", left)
        assert snapshots.load() is None


def test_none_is_due_without_a_path_or_a_frequency(tmp_path: Path) -> None:
    assert [n for n in range(1, 12) if Checkpoints(tmp_path / "x", 5).due(n)] == [5, 10]
    assert not Checkpoints(None, 5).due(5)
    assert not Checkpoints(tmp_path / "x", 0).due(5)


def test_after_clearing_there_is_none(tmp_path: Path) -> None:
    snapshots = saved(tmp_path)
    snapshots.clear()
    assert snapshots.load() is None
    assert list(tmp_path.iterdir()) == []
    snapshots.clear()
    assert Checkpoints().load() is None
