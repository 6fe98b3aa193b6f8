"""What all steps of the pipeline have in common."""

import functools
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility

from pipeline import lock, timing
from tasks.messages import Reporter, logger
from tasks.options import OutputOptions


class Pending(luigi.Target):
    """Stands for an output whose name depends on a step that has not run yet."""

    def exists(self) -> bool:
        """It never does."""
        return False

    def __str__(self) -> str:
        return "not known before the steps that it depends on have run"


class Step(luigi.Task):
    """A task whose output's path says all that made it.

    Whether a step has anything to do may only turn out when those before it have run: a photo
    that was touched but not changed makes a new manifest, whose bottlenecks are all there.
    """

    @classmethod
    @functools.cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Luigi's, which looks through the class again each time that a task is made."""
        params: list[tuple[str, luigi.Parameter[Any]]] = super().get_params()  # type: ignore[no-untyped-call]
        return params

    def run(self) -> None:
        """Work, unless it turns out that there is nothing to do."""
        if self.complete():
            return
        start = time.monotonic()
        self.reporter = Reporter(self)
        output_dir = self.output_dir if isinstance(self, OutputOptions) else None
        in_use = lock.shared(output_dir / lock.IN_USE) if output_dir else nullcontext()
        try:
            with in_use:
                self.work()
        finally:
            self.reporter.close()
        seconds = time.monotonic() - start
        logger.info("%s took %.1f s", self.task_family, seconds)
        if output_dir:
            timing.add(output_dir, self.task_family, made(self.output()), seconds)

    def work(self) -> None:
        """Write the output."""
        raise NotImplementedError

    def _get_param_visibilities(self) -> dict[str, int]:
        """What luigid's page shows of a task: the options that differ from luigi.cfg.

        Asked for the display alone: a task's identity comes from all of its options.
        """
        shown: dict[str, int] = super()._get_param_visibilities()  # type: ignore[no-untyped-call]
        for name, parameter in self.get_params():
            if name in shown and getattr(self, name) == parameter._default:
                shown[name] = ParameterVisibility.HIDDEN.value
        return shown


def path(target: luigi.Target) -> Path:
    """The path of a file or folder target."""
    assert isinstance(target, luigi.LocalTarget)
    return Path(target.path)


def made(output: luigi.Target | list[luigi.Target]) -> Path:
    """The path of a step's output; where there are several, of the folder that they are in."""
    return path(output[0]).parent if isinstance(output, list) else path(output)
