"""Look for faults of the data."""

import luigi

from pipeline import manifest, quality, split, storage
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import CheckOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path


class CheckData(CheckOptions, Step):
    """Write what is wrong with the photos; with `fail_on`, be a gate."""

    def requires(self) -> list[luigi.Task]:
        computed: ComputeBottlenecks = self.clone(ComputeBottlenecks)
        return computed.one_a_class()

    def output(self) -> luigi.Target:
        summary = self.clone(SplitDataset).summary()
        recipe = self.clone(ComputeBottlenecks).recipe()
        if summary is None or recipe is None:
            return Pending()
        made_of = (summary.digest, summary.aside_digest, recipe.key, quality.FORMAT_VERSION)
        name = f"{storage.digest(*made_of)}.parquet"
        return Result(self.output_dir, "checks", name)

    def complete(self) -> bool:
        """The findings are there, and none of them shuts the gate."""
        target = self.output()
        if not target.exists():
            return False
        kinds = quality.chosen(self.fail_on)
        return not kinds or quality.read(path(target), kinds).empty

    def work(self) -> None:
        target = path(self.output())
        if not target.exists():
            computed = self.clone(ComputeBottlenecks)
            recipe = computed.recipe()
            assert recipe is not None
            subject = quality.subject(
                manifest.read(path(self.clone(SplitDataset).output())),
                [computed.part(part) for part in split.SPLITS],
                self.image_dir,
                recipe.module,
                self.reporter,
            )
            findings = quality.check(subject)
            quality.write(findings, target)
            for line in quality.remarks(findings):
                logger.warning(line)
        quality.refuse(quality.read(target, quality.chosen(self.fail_on)), target)
