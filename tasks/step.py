"""The base class of all steps."""

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
from tasks.data_options import OutputOptions
from tasks.messages import Reporter, logger


class Pending(luigi.Target):
    """An output whose path depends on a step that has not run yet."""

    def exists(self) -> bool:
        """Return False."""
        return False

    def __str__(self) -> str:
        return "unknown until the steps before it have run"


class Result(luigi.LocalTarget):
    """A file or folder below the output folder, or below the mirror of a remote output store."""

    def __init__(self, output_dir: Path, *names: str) -> None:
        super().__init__(output_dir.joinpath(*names))  # type: ignore[no-untyped-call]
        self.store = output_store.open_store(output_dir)

    def exists(self) -> bool:
        """Return whether the output store has it, and the local copy, if any, is complete."""
        return self.store.has(local_path(self)) and (
            not local_path(self).exists() or self.is_complete_here()
        )

    def is_complete_here(self) -> bool:
        """Return whether there is a complete local copy."""
        return local_path(self).exists()


class Step(luigi.Task):
    """A task whose output path contains a digest of everything that makes the output.

    Whether a step has work to do may only be known once the steps before it have run: a photo that
    was touched but not changed makes a new manifest, all of whose bottlenecks exist already.
    """

    @classmethod
    @functools.cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Cache Luigi's method, which inspects the class again for every task object."""
        params: list[tuple[str, luigi.Parameter[Any]]] = super().get_params()  # type: ignore[no-untyped-call]
        return params

    def run(self) -> None:
        """Do the work, unless there turns out to be none."""
        self.upload()  # what an earlier run finished but could not upload
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
        self.upload()
        if output_dir:
            timings.add(output_dir, self.task_family, result_path(self.output()), seconds)

    def work(self) -> None:
        """Write the output."""
        raise NotImplementedError

    def upload(self) -> None:
        """Upload the results that are complete here and missing in the output store."""
        results = [target for target in flatten(self.output()) if isinstance(target, Result)]
        if results:
            store = results[0].store
            store.check_writable()
            missing = (r for r in results if not store.has(local_path(r)) and r.is_complete_here())
            store.upload(map(local_path, missing))

    def _get_param_visibilities(self) -> dict[str, int]:
        """Show on luigid's page only the options that differ from luigi.cfg.

        This affects the display alone: all options are part of a task's identity.
        """
        shown: dict[str, int] = super()._get_param_visibilities()  # type: ignore[no-untyped-call]
        for name, parameter in self.get_params():
            if name in shown and getattr(self, name) == parameter._default:
                shown[name] = ParameterVisibility.HIDDEN.value
        return shown


def fetch(target: luigi.Target) -> Path:
    """Return the local path of a target for reading, downloading it if need be."""
    return fetch_all([target])[0]


def fetch_all(targets: Iterable[luigi.Target]) -> list[Path]:
    """Return the local paths of targets for reading, downloading them if need be."""
    targets = list(targets)
    results = [target for target in targets if isinstance(target, Result)]
    if results:
        results[0].store.fetch(map(local_path, results))
    return [local_path(target) for target in targets]


def local_path(target: luigi.Target) -> Path:
    """Return the local path of a target, whether or not it exists."""
    assert isinstance(target, luigi.LocalTarget)
    return Path(target.path)


def result_path(output: luigi.Target | list[luigi.Target]) -> Path:
    """Return the local path of a step's output, or the folder that its outputs are in."""
    return local_path(output[0]).parent if isinstance(output, list) else local_path(output)
