"""Check the data set for problems."""

import luigi

from pipeline.bottlenecks import cache, remote_cache
from pipeline.evaluation.data_checks import checks, context, settled
from pipeline.files import naming
from pipeline.photos import manifest, split
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import CheckOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch


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
