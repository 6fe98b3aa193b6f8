"""Check the data set for problems."""

from pathlib import Path
from typing import Any

import luigi

from pipeline.bottlenecks import cache, remote_cache
from pipeline.evaluation.data_checks import checks, context, settled
from pipeline.files import naming, places
from pipeline.photos import manifest, split
from pipeline.review import last_run
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import CheckOptions, given
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path

_first = dict[Path, Any]()  # the task that the user asked for, by output folder


class CheckData(CheckOptions, Step):
    """Write the findings of all data checks, and fail on those in `fail_on`."""

    def requires(self) -> list[luigi.Task]:
        bottlenecks: ComputeBottlenecks = self.clone(ComputeBottlenecks)
        return bottlenecks.per_class()

    def output(self) -> luigi.Target:
        summary = self.clone(SplitDataset).summary()
        recipe = self.clone(ComputeBottlenecks).recipe()
        if summary is None or recipe is None:
            return Pending()
        made_of = (summary.digest, summary.aside_digest, recipe.key, checks.FORMAT_VERSION)
        key = naming.digest(*made_of, *self.clone(SplitDataset).correction_key())
        name = f"{key}.parquet"
        return Result(self.output_dir, "checks", name)

    def complete(self) -> bool:
        """Return whether the findings exist and none is of a kind in `fail_on`."""
        target = self.output()
        if not target.exists():
            return False
        kinds = checks.parse_kinds(self.fail_on)
        return not kinds or checks.read(fetch(target), kinds).empty

    def run(self) -> None:
        try:
            super().run()
        finally:  # also after a finding that stops the run
            self.record()

    def record(self) -> None:
        """Record this run as the last one, once there are findings."""
        target = self.output()
        if target.exists():
            dataset = self.clone(SplitDataset)
            listed, corrected = local_path(dataset.output()), dataset.corrected()
            asked = _first.get(self.output_dir, self)
            options = given(asked) | {last_run.IMAGE_DIR: places.absolute(asked.image_dir)}
            of_run = local_path(target), listed, options, len(corrected)
            earlier = last_run.record(self.output_dir, *of_run)
            for line in last_run.withdrawn_lines(self.output_dir, earlier, listed, corrected):
                logger.warning(line)

    def work(self) -> None:
        target = fetch(self.output())
        if not target.exists():
            bottlenecks = self.clone(ComputeBottlenecks)
            recipe = bottlenecks.ready(self.reporter)
            recipe_dir = recipe.directory(self.output_dir / "bottlenecks")
            remote_cache.fetch_notes(self.output_store, recipe_dir)
            dataset = self.clone(SplitDataset)
            listed = manifest.read(fetch(dataset.output()))
            check_context = context.build_context(
                listed,
                [bottlenecks.read_split(name) for name in split.SPLITS],
                self.image_dir,
                recipe.module,
                self.reporter,
                frozenset(cache.read_notes(recipe_dir, cache.UNIFORM)),
            )
            findings = checks.run(check_context)
            findings = settled.open_findings(findings, listed, dataset.corrected())
            checks.write(findings, target)
            for line in checks.summary_lines(findings):
                logger.warning(line)
        kinds = checks.parse_kinds(self.fail_on)
        checks.fail_on_findings(checks.read(target, kinds), target)


@luigi.Task.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
@luigi.Task.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _remember(task: luigi.Task, dependency: luigi.Task | None = None) -> None:
    """Remember what the user asked for, and record a run whose findings exist already."""
    if isinstance(task, CheckOptions):
        _first.setdefault(task.output_dir, task)
        if dependency is None:
            task.clone(CheckData).record()
