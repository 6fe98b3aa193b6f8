"""Turn the photos of one shard into vectors."""

import luigi

from pipeline.bottlenecks import shards, writer
from tasks.messages import tell
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.step import Pending, Result, Step, path, place


class ComputeShard(BottleneckOptions, Step):
    """Write the vectors of one shard, whatever classes its photos are in.

    There may be fewer shards than were thought of when the work was handed out: then there is
    nothing to do.
    """

    shard = luigi.IntParameter(description="number of the shard, from 0")

    def requires(self) -> list[luigi.Task]:
        return [self.clone(PlanShards)]

    def output(self) -> luigi.Target:
        plan = self.clone(PlanShards).output()
        if isinstance(plan, Pending):
            return plan
        listed = shards.file(place(plan).parent, self.shard)
        return Result(self.output_dir, str(listed.relative_to(self.output_dir)))

    def complete(self) -> bool:
        plan: PlanShards = self.clone(PlanShards)
        if not plan.output().exists():
            return plan.finished()
        return self.output().exists() or not shards.file(path(plan.output()), self.shard).exists()

    def work(self) -> None:
        target, plan = place(self.output()), self.clone(PlanShards)
        recipe = plan.ready(self.reporter)
        path(plan.output())
        counts = shards.compute(target.parent, self.shard, self.image_dir, recipe, self.reporter)
        counts.rejected = {}  # which the classes tell of
        tell(writer.summary_lines(counts), f"Shard {self.shard}. ")
