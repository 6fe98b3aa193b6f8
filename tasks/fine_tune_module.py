"""Train the module itself on the photos."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import luigi

from pipeline.files import naming
from pipeline.fine_tuning import result, settings, training, tuned_photos
from pipeline.fine_tuning.training import Source
from pipeline.head.checkpoints import Checkpoints
from pipeline.modules.loading import Module
from pipeline.nightly import tuning_plan
from pipeline.photos import split
from pipeline.progress import Progress
from tasks.fine_tuning_options import NO_DISTORTIONS
from tasks.messages import log_summary, logger
from tasks.options import BottleneckOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path

_GB = 10**9
_FROZEN = NO_DISTORTIONS | {"augmentations": 0, "fine_tune_epochs": 0}


class FineTuneModule(BottleneckOptions, Step):
    """Train the module and a head together; the result is a module like any other.

    The frozen module's vectors, from which the head starts, are dependencies that are only known to
    be wanted once the module and the photos turn out to be suitable.
    """

    _module: Module | None = None  # every class asks for it, and it does not change

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset), self.clone(PrepareModule)]

    def output(self) -> luigi.Target:
        summary, recipe = self.clone(SplitDataset).summary(), self._frozen().recipe()
        if summary is None or recipe is None:
            return Pending()
        how = (asdict(self.tuning), self.distortions.key, training.FORMAT_VERSION)
        name = naming.digest(summary.digest, recipe.key, *how)
        return Result(self.output_dir, tuning_plan.FOLDER, name)

    def complete(self) -> bool:
        return self.module() is not None

    def module(self) -> Module | None:
        """Return the module to use, or None until it is known; the frozen one if it stayed."""
        if self._module is None and self.output().exists():
            self._module = self._prepared().module()
        return self._module

    def ready(self, progress: Progress) -> Module:
        """Return the module on this machine, preparing it if another machine tuned it."""
        module: Module = self._prepared().ready(progress)
        return module

    def run(self) -> Iterator[list[luigi.Task]]:  # type: ignore[override]
        """Compute the frozen module's vectors first, unless the module cannot be tuned."""
        if not self.output().exists():
            summary, module = self.clone(SplitDataset).summary(), self.clone(PrepareModule).module()
            assert summary is not None
            assert module is not None
            training.refuse_unusable(module, summary)
            yield self._frozen().per_class()
        super().run()

    def work(self) -> None:
        target = local_path(self.output())
        if not self.output().exists():
            frozen = self._frozen()
            source = Source(
                frozen.ready(self.reporter),
                frozen.read_split(split.TRAINING),
                frozen.read_split(split.VALIDATION),
                self.image_dir,
            )
            unfinished = target.with_name(f".{target.name}.unfinished.npz")
            checkpoints = Checkpoints(unfinished, training.CHECKPOINT_STEPS)
            if unfinished.exists():
                logger.info("Resuming the interrupted fine-tuning from its last checkpoint")
            target.parent.mkdir(parents=True, exist_ok=True)
            for line in settings.advice_lines(self.tuning, *self._counts()):
                logger.warning(line)
            network, record = training.tune(
                source,
                self.tuning,
                self.distortions,
                target.parent,
                int(self.fine_tune_cache_gb * _GB),
                checkpoints,
                self.reporter,
                self._summaries(target.name),
            )
            photos = tuned_photos.collect(source.training, source.validation, source.recipe.module)
            record = result.write(network, record, photos, target)
            checkpoints.clear()
            log_summary(result.summary_lines(record))
            if record.verdict.better:
                logger.info(
                    "To use the fine-tuned module in other runs, pass --tfhub-module %s", target
                )
        prepared = self._prepared()
        if not prepared.complete():
            prepared.prepare(self.reporter)

    def _prepared(self) -> PrepareModule:
        """Return the step that prepares the result, which needs no other step."""
        tuned = result.module_in(fetch(self.output()))
        options = {"tfhub_module": str(tuned), "module_sha256": ""} if tuned else {}
        prepared: PrepareModule = self.clone(PrepareModule, **options)
        return prepared

    def _counts(self) -> tuple[int, int]:
        """Return the number of training and validation photos."""
        summary = self.clone(SplitDataset).summary()
        assert summary is not None
        classes = [c for c in summary.classes if c.training]
        return sum(c.training for c in classes), sum(c.validation for c in classes)

    def _frozen(self) -> Any:
        from tasks.compute_bottlenecks import ComputeBottlenecks  # which may require this step

        return self.clone(ComputeBottlenecks, **_FROZEN)

    def _summaries(self, key: str) -> Path | None:
        if not self.summaries_dir:
            return None
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-tuned-{key}"
        return Path(self.summaries_dir).expanduser() / name
