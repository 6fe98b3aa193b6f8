"""Look for faults of the data."""

import luigi

from pipeline.evaluation.data_checks import checks, context
from pipeline.files import naming
from pipeline.photos import manifest, split
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
        made_of = (summary.digest, summary.aside_digest, recipe.key, checks.FORMAT_VERSION)
        name = f"{naming.digest(*made_of)}.parquet"
        return Result(self.output_dir, "checks", name)

    def complete(self) -> bool:
        """The findings are there, and none of them shuts the gate."""
        target = self.output()
        if not target.exists():
            return False
        kinds = checks.parse_kinds(self.fail_on)
        return not kinds or checks.read(path(target), kinds).empty

    def work(self) -> None:
        target = path(self.output())
        if not target.exists():
            computed = self.clone(ComputeBottlenecks)
            recipe = computed.recipe()
            assert recipe is not None
            subject = context.build_context(
                manifest.read(path(self.clone(SplitDataset).output())),
                [computed.part(part) for part in split.SPLITS],
                self.image_dir,
                recipe.module,
                self.reporter,
            )
            findings = checks.run(subject)
            checks.write(findings, target)
            for line in checks.summary_lines(findings):
                logger.warning(line)
        checks.fail_on_findings(checks.read(target, checks.parse_kinds(self.fail_on)), target)
