"""The time that modules take per photo, on a machine whose speed varies."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.modules import engines, speed
from pipeline.modules.loading import Module

SLOW, FAST = (Module(name, "", name, 8, 8, 4) for name in ("slow", "fast"))


def test_modules_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 0.0, list[str]()

    def load(module: Module, precision: str, batch: int) -> Callable[[Any], None]:
        def forward(images: Any) -> None:
            nonlocal now
            assert (images.shape, precision) == ((batch, 8, 8, 3), "float32")
            calls.append(module.handle)
            hindered = len(calls) < 6  # by another program, or the first calls
            now += (2.0 if module is SLOW else 1.0) + 10 * hindered

        return forward

    monkeypatch.setattr(engines, "load", load)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert speed.seconds_per_photo([SLOW, FAST], "float32", 4) == [0.5, 0.25]
    assert calls[:4] == ["slow", "fast", "slow", "fast"]
