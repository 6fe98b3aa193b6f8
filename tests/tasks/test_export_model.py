"""ExportModel: when it is complete."""

from typing import Any

from luigi.task_register import Register

from tasks import ExportModel
from tests.support.commands import run


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
