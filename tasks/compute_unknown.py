"""Turn the photos of unknown_dir into vectors."""

import functools

import luigi

from pipeline.bottlenecks import remote_cache, unlabelled
from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.prediction import batch
from tasks.messages import log_summary
from tasks.options import BottleneckOptions, UnknownOptions
from tasks.plan_shards import PlanShards
from tasks.step import Pending, Result, Step, local_path

# A run uses the photos that it found at its start, however often Luigi asks for a target.
_find = functools.cache(functools.partial(batch.find, option="unknown_dir"))


class ComputeUnknown(UnknownOptions, BottleneckOptions, Step):
    """Write the vectors of photos that belong to no class."""

    def requires(self) -> luigi.Task:
        plan: PlanShards = self.clone(PlanShards)
        return plan.module_step()

    def output(self) -> luigi.Target:
        recipe = self.clone(PlanShards).recipe()
        try:
            files = [(p.path, p.size, p.mtime_ns) for p in _find(self.unknown_dir)]
        except UserError:  # `work` reports the problem
            return Pending()
        if recipe is None:
            return Pending()
        name = naming.digest(recipe.key, files, unlabelled.FORMAT_VERSION)
        return Result(self.output_dir, "unknown", f"{name}.parquet")

    def work(self) -> None:
        photos, plan = _find(self.unknown_dir), self.clone(PlanShards)
        recipe = plan.ready(self.reporter)
        directory = recipe.directory(self.output_dir / "bottlenecks")
        remote_cache.fetch_notes(self.output_store, directory)
        inspected = unlabelled.inspect(photos)
        used, vectors = unlabelled.with_vectors(inspected, recipe, directory, self.reporter)
        unlabelled.refuse_unusable(used, "unknown_dir")
        unlabelled.write(used, vectors, recipe, local_path(self.output()))
        log_summary(unlabelled.summary_lines(used, "Unknown"))
