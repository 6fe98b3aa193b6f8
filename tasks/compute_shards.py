"""Compute all missing vectors, divided among workers."""

import functools

import luigi

from pipeline.bottlenecks import ray_engine, shards, writer
from tasks.compute_shard import ComputeShard
from tasks.messages import log_summary
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, fetch_all, local_path


@functools.cache
def _count_photos(split: SplitDataset) -> int:
    """Return an upper bound of the photos; Luigi must get the same answer every time it asks."""
    return split.count()


class ComputeShards(BottleneckOptions, Step):
    """Compute all shards; the steps of the classes depend on this task instead of every shard.

    With Luigi as the engine, each shard is a task. With Ray, this task hands over all of them.
    """

    def worthwhile(self) -> bool:
        """Return whether there is enough work for several workers."""
        return self.engine == "ray" or self._max_shards() > 1

    def requires(self) -> list[luigi.Task]:
        numbers = range(0 if self.engine == "ray" else self._max_shards())
        return [self.clone(PlanShards), *(self.clone(ComputeShard, shard=n) for n in numbers)]

    def output(self) -> list[luigi.Target]:
        plan = self.clone(PlanShards).output()
        if isinstance(plan, Pending) or not plan.exists():
            return [plan]
        directory = local_path(plan).parent.relative_to(self.output_dir)
        lists = sorted(fetch(plan).glob("*.parquet"))
        return [Result(self.output_dir, str(directory / path.name)) for path in lists]

    def complete(self) -> bool:
        plan: PlanShards = self.clone(PlanShards)
        return (plan.output().exists() and not self._remaining()) or plan.finished()

    def fetch_computed(self) -> None:
        """Download the shards that other machines have computed."""
        fetch_all(target for target in self.output() if target.exists())

    def work(self) -> None:
        self.fetch_computed()
        recipe = self.clone(PlanShards).ready(self.reporter)
        counts = shards.compute_all(
            fetch(self.clone(PlanShards).output()).parent,
            self._remaining(),
            self.image_dir,
            recipe,
            functools.partial(ray_engine.extract, actors=self.ray_actors),
            self.reporter,
        )
        # The steps of the classes name the photos that cannot be decoded.
        log_summary(writer.summary_lines(counts, name_rejected=False), "Ray. ")

    def _remaining(self) -> list[int]:
        """Return the numbers of the shards without vectors."""
        return [int(local_path(target).stem) for target in self.output() if not target.exists()]

    def _max_shards(self) -> int:
        photos = _count_photos(self.clone(SplitDataset))
        return shards.max_shards(photos, self.augmentation, self.shard_size)
