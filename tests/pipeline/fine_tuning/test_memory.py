"""The check of the batch size."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.fine_tuning import memory
from pipeline.modules import frozen_graph, preparation


def test_a_batch_beyond_the_memory_names_one_that_fits(
    tiny_module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = preparation.prepare(str(tiny_module), tmp_path)
    memory.refuse_too_large(module, 10**9)  # without a frozen graph, nothing is known
    module = frozen_graph.freeze(module, tmp_path / "frozen.pb")
    each = memory.activation_bytes(module)
    assert each >= 4 * 12  # float32 features
    monkeypatch.setattr(memory, "available_bytes", lambda: 50 * each)
    memory.refuse_too_large(module, 50)
    with pytest.raises(UserError, match=r"^a batch of 64 photos takes .* to at most 50$"):
        memory.refuse_too_large(module, 64)


def test_the_available_memory_is_plausible() -> None:
    assert 10**6 < (memory.available_bytes() or 0) < 10**14
