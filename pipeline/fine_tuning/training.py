"""Fine-tuning: train a module and a head on photos, and keep the best epoch if it is better."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import tensorflow_import
from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.fine_tuning import memory, schedule, verdict
from pipeline.fine_tuning import network as networks
from pipeline.fine_tuning.batches import TrainingPhotos, enlarged_size
from pipeline.fine_tuning.network import Network
from pipeline.fine_tuning.photo_cache import PhotoCache
from pipeline.fine_tuning.result import Epoch, Record, head_of
from pipeline.fine_tuning.settings import Settings
from pipeline.head import training as head_training
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import BatchIterator
from pipeline.head.softmax_head import Head
from pipeline.head.tensorboard import TRAINING, VALIDATION, TensorBoardWriter
from pipeline.modules import engines
from pipeline.modules.loading import Module
from pipeline.photos.manifest import Summary
from pipeline.pixels.augmentation import Augmentation
from pipeline.progress import Progress, silent

FORMAT_VERSION = 3  # raise it when the result of fine-tuning changes
CHECKPOINT_STEPS = 10  # each checkpoint takes some tenths of a second
EVALUATION_BATCH = 32  # photos
_SOFTENING = 3  # the head starts with a third of its logits, so that the module learns more
_PATIENCE = 3  # epochs in a row that may be worse than the best one
_TIMED_STEPS = 3


@dataclass(frozen=True)
class Source:
    """The photos and the module to start from.

    Attributes:
        recipe: recipe of the frozen vectors, with the module.
        training, validation: the frozen vectors of the splits, and which photos these are.
        image_dir: folder that the photos' paths are relative to.
    """

    recipe: Recipe
    training: SplitReader
    validation: SplitReader
    image_dir: Place


@dataclass
class _Run:
    """The progress of a training, all of which is in its checkpoints.

    Attributes:
        planned: number of epochs that the schedule covers.
        losses: losses of the current epoch's steps.
        seconds: time spent on the current epoch.
        epochs: completed epochs.
        best: the network's weights after the best of them.
    """

    planned: int
    losses: list[float] = field(default_factory=list)
    seconds: float = 0
    epochs: list[Epoch] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)

    @property
    def best_epoch(self) -> Epoch:
        return min(self.epochs, key=lambda epoch: epoch.cross_entropy)

    @property
    def is_over(self) -> bool:
        """Whether the schedule has ended, or nothing has improved for a while."""
        waited = len(self.epochs) - self.best_epoch.number if self.epochs else 0
        return len(self.epochs) >= self.planned or waited >= _PATIENCE


def refuse_unusable(module: Module, summary: Summary) -> None:
    """Check, before any vector is computed, that a module can be fine-tuned on the photos.

    Raises:
        UserError: if it cannot.
    """
    if not sum(c.validation for c in summary.classes if c.training):
        raise UserError(
            "fine-tuning needs validation photos, which tell whether it helps, and there are none; "
            "add photos, raise validation_percentage, or set fine_tune_epochs to 0"
        )
    tensorflow_import.import_tensorflow()
    networks.trainable(module)


def tune(
    source: Source,
    settings: Settings,
    distortions: Augmentation,
    folder: Path,
    cache_bytes: int,
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008, it is frozen
    progress: Progress = silent,
    summaries: Path | None = None,
) -> tuple[Network, Record]:
    """Fine-tune a module.

    Args:
        source: the module and the photos.
        settings: how to train.
        distortions: how training photos are distorted, anew in each epoch.
        folder: local folder for decoded photos.
        cache_bytes: how many bytes of them are kept.
        checkpoints: where a killed training resumes.
        progress: counts photos.
        summaries: new folder for TensorBoard.

    Returns:
        The network with the weights of the best epoch, and the record, whose verdict says whether
        it is better than the module as it was.

    Raises:
        UserError: if the photos, the module, the memory or the time do not allow it, or if the loss
            is not finite before the first epoch ends.
    """
    tensorflow_import.import_tensorflow()
    module = source.recipe.module
    earlier = head_of(module)  # if this is not its first fine-tuning
    head, frozen = head_training.probe(
        source.training.labelled, source.validation.labelled, progress, tuned=earlier
    )
    trained, validated = (_photos(reader, head) for reader in (source.training, source.validation))
    batch_size = min(settings.fine_tune_batch_size, len(trained))
    memory.refuse_too_large(module, batch_size)
    spec, spec_size = module.input, (module.height, module.width)

    def cache(photos: pd.DataFrame, size: tuple[int, int]) -> PhotoCache:
        paths = [source.image_dir / path for path in photos["path"]]
        filled = PhotoCache(paths, list(photos["digest"]), spec, size, folder, cache_bytes)
        filled.fill(progress)
        return filled

    with engines.mixed_precision(source.recipe.precision), TensorBoardWriter(summaries) as writer:
        classes = trained["class"].to_numpy()
        counts = np.bincount(classes, minlength=len(head.labels))
        weights = (len(classes) / (len(counts) * counts)).astype(np.float32)  # mean 1
        soft = replace(head, weights=head.weights / _SOFTENING, bias=head.bias / _SOFTENING)
        network = Network(module, soft, weights, settings, source.recipe.precision)
        photos = TrainingPhotos(
            cache(trained, enlarged_size(spec, distortions)),
            list(trained["digest"]),
            classes,
            spec,
            distortions,
            batch_size,
            settings.fine_tune_seed,
        )
        validation = _labelled(network, cache(validated, spec_size), validated)
        truth = validated["class"].to_numpy()
        run = _load(network, checkpoints) or _Run(_plan(network, photos, settings))
        stopped = ""
        while not run.is_over and not stopped:
            stopped = _train_epoch(network, photos, run, settings, checkpoints, progress)
            if not stopped:
                _evaluate(network, validation, truth, run, writer)
                _save(network, run, checkpoints)
        if not stopped and run.planned < settings.fine_tune_epochs:
            stopped = (
                f"fine_tune_minutes {settings.fine_tune_minutes:g} has room for {run.planned} of "
                f"{settings.fine_tune_epochs} epochs"
            )
        network.assign(run.best)
        training = _labelled(network, cache(trained, spec_size), trained)
        _, tuned = head_training.probe(training, validation, progress, tuned=network.head())
    trained_epochs, best = len(run.epochs), run.best_epoch.number
    progress(trained_epochs, trained_epochs, f"epochs; the best is {best}")
    record = Record(
        tuple(run.epochs),
        best,
        len(classes),
        verdict.compare(frozen, tuned, truth),
        stopped,
    )
    return network, record


def _photos(reader: SplitReader, head: Head) -> pd.DataFrame:
    """Return the photos of a split, in the order of its vectors, with their class as a number."""
    texts = reader.texts()
    texts["class"] = pd.Index(head.labels).get_indexer(pd.Index(texts["label"]))
    return texts[texts["class"] >= 0]


def _train_epoch(
    network: Network,
    photos: TrainingPhotos,
    run: _Run,
    settings: Settings,
    checkpoints: Checkpoints,
    progress: Progress,
) -> str:
    """Train the rest of an epoch; return why it stopped early, or an empty string."""
    number, total = len(run.epochs), run.planned * photos.steps
    began = time.monotonic() - run.seconds
    validated = f", validation {run.epochs[-1].accuracy:.1%}" if run.epochs else ""
    for images, classes in photos.batches(number, first=len(run.losses)):
        done = number * photos.steps + len(run.losses)
        rate = schedule.rate(done, total, settings.fine_tune_learning_rate)
        loss = network.train(images, classes, rate)
        if not math.isfinite(loss):
            return _diverged(run, settings)
        run.losses.append(loss)
        progress(
            (done + 1) * photos.size,
            total * photos.size,
            f"photos, epoch {number + 1} of {run.planned}, loss {loss:.3f}{validated}",
        )
        if checkpoints.due(done + 1):
            run.seconds = time.monotonic() - began
            _save(network, run, checkpoints)
    run.seconds = time.monotonic() - began
    return ""


def _diverged(run: _Run, settings: Settings) -> str:
    reason = (
        f"the loss is not finite at fine_tune_learning_rate {settings.fine_tune_learning_rate:g}; "
        "lower it"
    )
    if not run.epochs:
        raise UserError(f"fine-tuning has stopped, as {reason}")
    return reason


def _evaluate(
    network: Network,
    validation: BatchIterator,
    truth: np.ndarray,
    run: _Run,
    writer: TensorBoardWriter,
) -> None:
    """Complete an epoch: measure it on the validation photos, and keep it if it is the best."""
    began = time.monotonic()
    logits = network.head().logits(np.concatenate([vectors for vectors, _ in validation()]))
    number, loss = len(run.epochs) + 1, float(np.mean(run.losses))
    accuracy = float((logits.argmax(1) == truth).mean())
    cross_entropy = verdict.calibrated_cross_entropy(logits, truth)
    seconds = round(run.seconds + time.monotonic() - began, 2)
    run.epochs.append(Epoch(number, loss, accuracy, cross_entropy, seconds))
    run.losses, run.seconds = [], 0
    if run.best_epoch.number == number:
        run.best = network.weights()
    writer.metrics(TRAINING, number, loss=loss)
    writer.metrics(VALIDATION, number, accuracy=accuracy, cross_entropy=cross_entropy)


def _labelled(network: Network, pixels: PhotoCache, photos: pd.DataFrame) -> BatchIterator:
    """Iterate over photos; each pass computes their vectors again."""
    labels = photos["label"].to_numpy(object)

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in np.array_split(np.arange(len(labels)), -(-len(labels) // EVALUATION_BATCH)):
            images = np.stack(pixels.read(part)).astype(np.float32) / 255
            yield network.vectors(images), labels[part]

    return batches


def _plan(network: Network, photos: TrainingPhotos, settings: Settings) -> int:
    """Return the number of epochs that fit into the time budget, after timing a few steps."""
    if not settings.fine_tune_minutes:
        return settings.fine_tune_epochs
    images, classes = next(photos.batches(0))
    network.loss(images, classes)  # which also traces it
    began = time.monotonic()
    for _ in range(_TIMED_STEPS):
        network.loss(images, classes)
    seconds = photos.steps * (time.monotonic() - began) / _TIMED_STEPS
    return schedule.epochs_within(settings.fine_tune_minutes, settings.fine_tune_epochs, seconds)


def _save(network: Network, run: _Run, checkpoints: Checkpoints) -> None:
    if not checkpoints.every:
        return
    arrays = {f"state{i}": array for i, array in enumerate(network.state())}
    arrays |= {f"best{i}": array for i, array in enumerate(run.best)}
    facts = asdict(replace(run, best=[]))
    checkpoints.save(facts, arrays)


def _load(network: Network, checkpoints: Checkpoints) -> _Run | None:
    saved = checkpoints.load()
    if saved is None:
        return None
    facts, arrays = saved
    run = _Run(**facts | {"epochs": [Epoch(**epoch) for epoch in facts["epochs"]]})
    for values, name in ((run.best, "best"), (state := list[np.ndarray](), "state")):
        while f"{name}{len(values)}" in arrays:
            values.append(arrays[f"{name}{len(values)}"])
    network.assign(state)
    return run
