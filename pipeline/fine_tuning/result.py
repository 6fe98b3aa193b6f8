"""The result of fine-tuning: a record of what happened and, if it is better, a module."""

import datetime
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from pipeline.files import atomic
from pipeline.fine_tuning import tuned_photos
from pipeline.fine_tuning.network import Network
from pipeline.fine_tuning.verdict import Verdict
from pipeline.head import softmax_head
from pipeline.head.softmax_head import Head
from pipeline.modules import handles, preparation, provenance
from pipeline.modules.loading import Module
from pipeline.modules.provenance import Provenance

RECORD = handles.FINE_TUNING


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos.

    Attributes:
        number: from 1.
        loss: mean training loss of its steps, with label smoothing and augmentation.
        accuracy: on the validation photos, from 0 to 1.
        cross_entropy: on the validation photos, at the best temperature, in nats.
        seconds: including the evaluation.
    """

    number: int
    loss: float
    accuracy: float
    cross_entropy: float
    seconds: float


@dataclass(frozen=True)
class Record:
    """What a fine-tuning did.

    Attributes:
        epochs: the epochs, in order.
        best: number of the best epoch.
        photos: number of training photos.
        verdict: comparison with the module as it was.
        stopped: why it ended early, in words; empty if it did not.
        module: handle of the module that it started from.
        date: ISO date on which it ended, in local time.
    """

    epochs: tuple[Epoch, ...]
    best: int
    photos: int
    verdict: Verdict
    stopped: str = ""
    module: str = ""
    date: str = ""

    @property
    def summary(self) -> str:
        """What the user should know, on one line."""
        epochs = f"best epoch: {self.best} of {len(self.epochs)}"
        return f"{self.verdict.summary}. Fine-tuned from {self.module} on {self.date}; {epochs}"


def write(network: Network, record: Record, photos: pd.DataFrame, directory: Path) -> Record:
    """Write the result: the record and, if it is better, the module, in a folder of its own.

    The module's folder contains the head, from which `pipeline.head` continues, and what it was
    fine-tuned on.

    Args:
        network: the network.
        record: what happened.
        photos: result of `tuned_photos.collect`.
        directory: folder to create.

    Returns:
        The record as it is written, with the module that it started from.
    """
    module = network.module
    record = replace(record, module=module.handle, date=datetime.date.today().isoformat())
    with atomic.write(directory) as temporary:
        temporary.mkdir()
        content = json.dumps(asdict(record), indent=2) + "\n"
        (temporary / RECORD).write_text(content, encoding="utf-8")
        if record.verdict.better:
            origin = module.tuned_from or module.handle
            folder = temporary / preparation.short_name(origin)
            network.save(folder)
            epochs = module.tuned_epochs + record.best
            about = (origin, epochs, record.photos, module.licence, module.height, module.width)
            provenance.write(Provenance(*about, module.image_range_known), folder)
            softmax_head.write_layer(network.head(), folder / provenance.FOLDER)
            tuned_photos.write(photos, folder)
    return record


def read(directory: Path) -> Record | None:
    """Read the record of a result; None if there is none, or one of an earlier version."""
    path = directory / RECORD
    if not path.is_file():
        return None
    facts = json.loads(path.read_text(encoding="utf-8"))
    epochs = tuple(Epoch(**epoch) for epoch in facts["epochs"])
    with suppress(TypeError):  # its fields had other names
        return Record(**facts | {"epochs": epochs, "verdict": Verdict(**facts["verdict"])})
    return None


def module_in(directory: Path) -> Path | None:
    """Return the folder of the fine-tuned module in a result; None if the frozen one stayed."""
    return next((path.parent for path in directory.glob("*/saved_model.pb")), None)


def head_of(module: Module) -> Head | None:
    """Return the head that was trained together with a module; None if it was not fine-tuned.

    Raises:
        UserError: if the file is damaged.
    """
    folder = Path(module.directory) / provenance.FOLDER
    return softmax_head.read(folder) if (folder / softmax_head.FILE).exists() else None


def summary_lines(record: Record) -> Iterator[str]:
    """Yield what users should know about a fine-tuning; the first line is its summary."""
    seconds = sum(epoch.seconds for epoch in record.epochs)
    rate = len(record.epochs) * record.photos / seconds if seconds else 0
    yield f"{record.summary}; {seconds / 60:.1f} minutes, {rate:,.0f} photos a second"
    if record.stopped:
        yield f"Fine-tuning stopped early: {record.stopped}. The best epoch so far counts"
