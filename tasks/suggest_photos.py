"""Suggest which photos to label next."""

import functools
import shlex
from collections.abc import Sequence
from typing import Any

import luigi

from pipeline.bottlenecks import remote_cache, unlabelled
from pipeline.errors import UserError
from pipeline.files import naming, places
from pipeline.files.numbers import counted
from pipeline.head import softmax_head
from pipeline.photos import manifest
from pipeline.photos.file_names import printable
from pipeline.prediction import batch
from pipeline.review import last_run, suggestions
from tasks.command_options import SuggestOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.data_options import SAMPLE_DIR
from tasks.messages import log_summary, logger
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path
from tasks.train_head import TrainHead

# A run uses the photos that it found at its start, however often Luigi asks for a target.
_find = functools.cache(batch.find)
_UNPRINTABLE = "its path contains a line break or another character that cannot be shown; rename it"


class SuggestPhotos(SuggestOptions, Step):
    """Write a table of the photos without a label from which a model would learn most."""

    @classmethod
    def get_param_values(
        cls, params: Sequence[tuple[str, Any]], args: Any, kwargs: Any
    ) -> list[tuple[str, Any]]:
        """Without photos of its own, use those of the last run, with its options."""
        values = dict(super().get_param_values(params, args, kwargs))
        if values["dataset"] or values["image_dir"] != SAMPLE_DIR:
            return list(values.items())
        recorded = last_run.options(values["output_dir"])
        if last_run.DATASET in recorded:  # which names the photos in any working directory
            del recorded[last_run.IMAGE_DIR]
        for name, parameter in params:
            if name in recorded and values[name] == parameter._default:
                values[name] = parameter.parse(recorded[name])
        return super().get_param_values(params, (), values)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.images and places.is_inside(places.parse(self.images), self.image_dir):
            raise UserError(
                f"images: {self.images} is inside image_dir ({self.image_dir}), where the names of "
                "folders are labels; move it out"
            )

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

    def run(self) -> None:
        """Suggest photos; if the suggestions exist, show them again."""
        found = self.output().exists()
        super().run()
        if found:
            self.show_again()

    def show_again(self) -> None:
        """Log where the suggestions are, and make them those that the review page shows."""
        target = fetch(self.output())
        target.touch()
        self.output_store.upload([target])
        number = counted(len(suggestions.read(target)), "unlabelled photo")
        logger.info("%s suggested already, in %s. %s", number, target, self._advice())

    def work(self) -> None:
        dataset, found = self.clone(SplitDataset), _find(self.images)
        recipe = self.clone(ComputeBottlenecks).ready(self.reporter)
        directory = recipe.directory(self.output_dir / "bottlenecks")
        remote_cache.fetch_notes(self.output_store, directory)
        known = set(manifest.read(fetch(dataset.output()))["digest"])
        known |= {correction.digest for correction in dataset.corrected()}
        photos = unlabelled.inspect(found)
        unprintable = (photos["problem"] == "") & (photos["path"] != photos["path"].map(printable))
        photos.loc[unprintable, "problem"] = _UNPRINTABLE
        unlabelled.refuse_unusable(photos, "images")
        photos = photos[(photos["problem"] != "") | ~photos["digest"].isin(known)]
        if (photos["problem"] != "").all():
            raise UserError(
                f"images: all usable photos at {self.images} have a label already; pass a folder "
                "of other photos"
            )
        photos, vectors = unlabelled.with_vectors(photos, recipe, directory, self.reporter)
        unlabelled.refuse_unusable(photos, "images")
        log_summary(unlabelled.summary_lines(photos, "Unlabelled"))
        usable = photos[photos["problem"] == ""]
        is_first = ~usable["digest"].duplicated().to_numpy()
        photos, vectors = usable[is_first], vectors[is_first]
        head = softmax_head.read(fetch(self.clone(TrainHead).output()))
        scores, fit = head.probabilities(vectors), head.familiarity
        assert fit is not None  # heads of this version have it
        fits = fit.known(fit.score(vectors, head.logits(vectors)))
        suggested = suggestions.table(photos, head.labels, scores, vectors, self.suggestions, fits)
        target = local_path(self.output())
        suggestions.write(suggested, target)
        logger.info(
            "%s of %s unlabelled photos suggested, in %s. %s",
            f"{len(suggested):,}",
            f"{len(photos):,}",
            target,
            self._advice(),
        )

    def _advice(self) -> str:
        output_dir = shlex.quote(self.output_store.url)
        return f"To label them: make review OUTPUT_DIR={output_dir}"


@luigi.Task.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _show_again(task: luigi.Task) -> None:
    """Show suggestions that exist already."""
    if isinstance(task, SuggestPhotos):
        task.show_again()
