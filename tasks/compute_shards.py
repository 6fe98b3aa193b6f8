"""Compute all vectors that are missing, divided among workers."""

import functools

import luigi

from pipeline.bottlenecks import ray_engine, shards, writer
from pipeline.files import output_store
from tasks.compute_shard import ComputeShard
from tasks.messages import tell
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path, paths, place


@functools.cache
def _listed(split: SplitDataset) -> int:
    """How many photos there may be; Luigi must get the same answer each time that it asks."""
    return split.count()


class ComputeShards(BottleneckOptions, Step):
    """Stands between the shards and the classes, so that not each class has to name each shard.

    With Luigi as the engine, each shard is a task. With Ray, this one hands all of them over.
    """

    def worthwhile(self) -> bool:
        """Whether there is enough work for several workers."""
        return self.engine == "ray" or self._most() > 1

    def requires(self) -> list[luigi.Task]:
        numbers = range(0 if self.engine == "ray" else self._most())
        return [self.clone(PlanShards), *(self.clone(ComputeShard, shard=n) for n in numbers)]

    def output(self) -> list[luigi.Target]:
        plan = self.clone(PlanShards).output()
        if isinstance(plan, Pending) or not plan.exists():
            return [plan]
        directory = place(plan).parent.relative_to(self.output_dir)
        lists = sorted(path(plan).glob("*.parquet"))
        return [Result(self.output_dir, str(directory / listed.name)) for listed in lists]

    def complete(self) -> bool:
        plan: PlanShards = self.clone(PlanShards)
        return (plan.output().exists() and not self._left()) or plan.finished()

    def fetch(self) -> None:
        """Bring the shards that other machines have computed, where they share a store."""
        if output_store.of(self.output_dir):
            paths(target for target in self.output() if target.exists())

    def work(self) -> None:
        self.fetch()
        recipe = self.clone(PlanShards).ready(self.reporter)
        directory = path(self.clone(PlanShards).output()).parent
        counts = shards.compute_all(
            directory,
            self._left(),
            self.image_dir,
            recipe,
            functools.partial(ray_engine.extract, actors=self.ray_actors),
            self.reporter,
        )
        counts.rejected = {}  # which the classes tell of
        tell(writer.summary_lines(counts), "Ray. ")

    def _left(self) -> list[int]:
        """Numbers of the shards that have no vectors yet."""
        return [int(place(target).stem) for target in self.output() if not target.exists()]

    def _most(self) -> int:
        listed = _listed(self.clone(SplitDataset))
        return shards.most(listed, self.augmentation, self.shard_size)
