"""ExportModel: when it is complete, and what it reports."""

from typing import Any

import pytest
from luigi.task_register import Register

from tasks import ExportModel
from tasks.messages import Reporter
from tests.support.commands import run
from tests.support.steps import Pipeline


def test_a_promoted_model_is_done_though_another_run_promotes_its_own_right_after(
    options: dict[str, Any],
) -> None:
    first, second = ExportModel(**options, l2=0.1), ExportModel(**options, l2=0.01)
    run(first)
    run(second)
    assert first.complete()
    Register.clear_instance_cache()
    assert ExportModel(**options, l2=0.01).complete()
    assert not ExportModel(**options, l2=0.1).complete()  # a new run must promote it again


@pytest.mark.slow
def test_the_conversion_is_announced_and_the_interpreter_is_silent(
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shown: list[tuple[int, int]] = []

    def report(_: Reporter, done: int, total: int, message: str) -> None:
        if message.startswith("files of the model"):
            shown.append((done, total))

    monkeypatch.setattr(Reporter, "__call__", report)
    pipeline = Pipeline(**options)
    pipeline.run(tflite="float32")
    assert shown == [(0, 3), (3, 3)]
    assert "Converting the model, which can take a minute" in pipeline.lines
    assert "XNNPACK" not in capfd.readouterr().err
