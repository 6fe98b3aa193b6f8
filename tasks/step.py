"""What all steps of the pipeline have in common."""

import time
from pathlib import Path

import luigi

from tasks.messages import Reporter, logger


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

    def run(self) -> None:
        """Work, unless it turns out that there is nothing to do."""
        if self.complete():
            return
        start = time.monotonic()
        self.reporter = Reporter(self)
        try:
            self.work()
        finally:
            self.reporter.close()
        logger.info("%s took %.1f s", self.task_family, time.monotonic() - start)

    def work(self) -> None:
        """Write the output."""
        raise NotImplementedError


def path(target: luigi.Target) -> Path:
    """The path of a file or folder target."""
    assert isinstance(target, luigi.LocalTarget)
    return Path(target.path)
