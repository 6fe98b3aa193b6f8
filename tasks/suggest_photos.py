"""Suggest which photos to label next."""

import functools

import luigi

from pipeline.bottlenecks import remote_cache
from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.head import softmax_head
from pipeline.photos import manifest
from pipeline.prediction import batch
from pipeline.review import suggestions, unlabelled
from tasks.command_options import SuggestOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path
from tasks.train_head import TrainHead

# A run uses the photos that it found at its start, however often Luigi asks for a target.
_find = functools.cache(batch.find)


class SuggestPhotos(SuggestOptions, Step):
    """Write a table of the photos without a label from which a model would learn most."""

    def requires(self) -> list[luigi.Task]:
        return [self.clone(TrainHead)]

    def output(self) -> luigi.Target:
        head = self.clone(TrainHead).output()
        try:
            files = [(photo.path, photo.size, photo.mtime_ns) for photo in _find(self.images)]
        except UserError:  # `work` reports the problem
            return Pending()
        if isinstance(head, Pending):
            return head
        made_of = (local_path(head).name, self.suggestions, suggestions.FORMAT_VERSION)
        decided = self.clone(SplitDataset).correction_key()
        key = naming.digest(*made_of, files, *decided)
        return Result(self.output_dir, suggestions.FOLDER, f"{key}.csv")

    def work(self) -> None:
        dataset, found = self.clone(SplitDataset), _find(self.images)
        recipe = self.clone(ComputeBottlenecks).ready(self.reporter)
        directory = recipe.directory(self.output_dir / "bottlenecks")
        remote_cache.fetch_notes(self.output_store, directory)
        known = set(manifest.read(fetch(dataset.output()))["digest"])
        known |= {correction.digest for correction in dataset.corrected()}
        photos = unlabelled.inspect(found, known)
        photos, vectors = unlabelled.with_vectors(photos, recipe, directory, self.reporter)
        head = softmax_head.read(fetch(self.clone(TrainHead).output()))
        scores = head.probabilities(vectors)
        suggested = suggestions.table(photos, head.labels, scores, vectors, self.suggestions)
        target = local_path(self.output())
        suggestions.write(suggested, target)
        logger.info(
            "%s of %s unlabelled photos suggested, in %s. To label them: make review",
            f"{len(suggested):,}",
            f"{len(photos):,}",
            target,
        )
