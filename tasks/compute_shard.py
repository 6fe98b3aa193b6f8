"""Turn the photos of one shard into vectors."""

import luigi

from pipeline.bottlenecks import shards, writer
from tasks.messages import log_summary
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.step import Pending, Result, Step, fetch, local_path


class ComputeShard(BottleneckOptions, Step):
    """Write the vectors of one shard, whichever classes its photos are in.

    There may be fewer shards than expected when the tasks were scheduled; the surplus tasks have
    nothing to do.
    """

    shard = luigi.IntParameter(description="number of the shard, from 0")

    def requires(self) -> list[luigi.Task]:
        return [self.clone(PlanShards)]

    def output(self) -> luigi.Target:
        plan = self.clone(PlanShards).output()
        if isinstance(plan, Pending):
            return plan
        file = shards.file(local_path(plan).parent, self.shard)
        return Result(self.output_dir, str(file.relative_to(self.output_dir)))

    def complete(self) -> bool:
        plan: PlanShards = self.clone(PlanShards)
        if not plan.output().exists():
            return plan.finished()
        listed = shards.file(fetch(plan.output()), self.shard).exists()
        return self.output().exists() or not listed

    def work(self) -> None:
        target, plan = local_path(self.output()), self.clone(PlanShards)
        recipe = plan.ready(self.reporter)
        fetch(plan.output())
        counts = shards.compute(target.parent, self.shard, self.image_dir, recipe, self.reporter)
        # The steps of the classes name the photos that cannot be decoded.
        lines = writer.summary_lines(counts, name_rejected=False)
        log_summary(lines, f"Shard {self.shard}. ")
