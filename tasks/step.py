"""What all steps of the pipeline have in common."""

import functools
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility
from luigi.task import flatten

from pipeline.files import locks, output_store, timings
from tasks.messages import Reporter, logger
from tasks.options import OutputOptions


class Pending(luigi.Target):
    """Stands for an output whose name depends on a step that has not run yet."""

    def exists(self) -> bool:
        """It never does."""
        return False

    def __str__(self) -> str:
        return "not known before the steps that it depends on have run"


class Result(luigi.LocalTarget):
    """A file or folder below the output folder; where that is on an object store, of its mirror.

    It exists when it is whole where the output folder is.
    """

    def __init__(self, output_dir: Path, *names: str) -> None:
        super().__init__(output_dir.joinpath(*names))  # type: ignore[no-untyped-call]
        self.store = output_store.of(output_dir)

    def exists(self) -> bool:
        """Whether it is whole where it is kept, and not damaged where it is read."""
        if self.store is None:
            return self.is_here()
        return self.store.has(place(self)) and (not place(self).exists() or self.is_here())

    def is_here(self) -> bool:
        """Whether it is whole on this machine."""
        return place(self).exists()


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
        self._upload()  # what an earlier run made, but could not upload
        if self.complete():
            return
        start = time.monotonic()
        self.reporter = Reporter(self)
        output_dir = self.output_dir if isinstance(self, OutputOptions) else None
        in_use = locks.shared(output_dir / locks.IN_USE) if output_dir else nullcontext()
        try:
            with in_use:
                self.work()
        finally:
            self.reporter.close()
        seconds = time.monotonic() - start
        logger.info("%s took %.1f s", self.task_family, seconds)
        self._upload()
        if output_dir:
            timings.add(output_dir, self.task_family, made(self.output()), seconds)

    def work(self) -> None:
        """Write the output."""
        raise NotImplementedError

    def _upload(self) -> None:
        """Upload the results that are here alone, where the output folder is on an object store."""
        results = [target for target in flatten(self.output()) if isinstance(target, Result)]
        if results and (store := results[0].store):
            store.probe()
            store.push([place(r) for r in results if not store.has(place(r)) and r.is_here()])

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
    """The path of a file or folder target, to read it: fetched if it is on an object store."""
    return paths([target])[0]


def paths(targets: Iterable[luigi.Target]) -> list[Path]:
    """The paths of some targets, to read them."""
    found = list(targets)
    results = [target for target in found if isinstance(target, Result)]
    if results and (store := results[0].store):
        store.fetch(map(place, results))
    return [place(target) for target in found]


def place(target: luigi.Target) -> Path:
    """The path of a file or folder target, whatever is there."""
    assert isinstance(target, luigi.LocalTarget)
    return Path(target.path)


def made(output: luigi.Target | list[luigi.Target]) -> Path:
    """The path of a step's output; where there are several, of the folder that they are in."""
    return place(output[0]).parent if isinstance(output, list) else place(output)
