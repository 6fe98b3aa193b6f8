"""The subject of a review: findings, photos, and what speaks for and against their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.files import naming, places
from pipeline.files.places import Place
from pipeline.photos import corrections, inspection
from pipeline.photos.corrections import Correction
from pipeline.review import evidence, last_run, queue, suggestions
from pipeline.review.evidence import Evidence, Guess
from pipeline.review.last_run import LastRun
from pipeline.review.queue import RELABELLED, Queue


@dataclass
class Subject:
    """What the page is about.

    Attributes:
        queue: the findings, and the decisions about them.
        photos: where the photos of the page are, by digest.
        labels: the classes, also those that decisions have made.
        evidence: what speaks for and against labels.
        guessed: probable labels of unlabelled photos, by digest.
        run: the last run.
        version: names the run and the suggestions.
    """

    queue: Queue
    photos: Mapping[str, Place]
    labels: list[str]
    evidence: Evidence
    guessed: Mapping[str, list[Guess]]
    run: LastRun
    version: str

    def is_newest(self) -> bool:
        """Return whether neither a run nor suggestions were made since this was read."""
        return self.version == _version(self.run.output_dir)

    def refresh(self) -> None:
        """Read the findings and suggestions again if there are newer ones.

        Raises:
            UserError: if they cannot be read.
        """
        if not self.is_newest():
            run = last_run.find(self.run.output_dir)
            vars(self).update(vars(read(run, self.queue.path, self.queue.who)))

    def commands(self) -> list[str]:
        """Return the commands that carry out the decisions so far."""
        commands = [self.run.command("train", self.queue.path)]
        states = zip(self.queue.entries, self.queue.states(), strict=True)
        new = (state.photos[0] for entry, state in states if entry.kind == suggestions.KIND)
        if any(decision.startswith(RELABELLED) for decision in new):  # they are to be copied first
            commands.insert(0, self.run.command("apply-corrections", self.queue.path, "APPLY=1"))
        return commands


def read(run: LastRun, file: Path, who: str) -> Subject:
    """Return the findings of the last run and the photos that are worth labelling next.

    Args:
        run: the last run.
        file: the file of corrections.
        who: the person who decides.

    Raises:
        UserError: if the file of corrections is invalid, or gone.
    """
    version = _version(run.output_dir)
    lines = last_run.read_corrections(run.output_dir, file)
    suggested = suggestions.newest(run.output_dir)
    suggested = suggested[~suggested["digest"].isin(run.photos["digest"])]
    outside = _outside(lines, {*run.photos["digest"], *suggested["digest"]})
    entries = [*queue.entries(run.findings, run.photos), *suggestions.entries(suggested)]
    entries += suggestions.decided_entries(outside)
    entries += queue.earlier_entries(lines, run.photos, run.folder_labels, entries)
    files = pd.concat([run.photos, suggested, outside])[["digest", "path"]]
    usable = run.photos[run.photos["status"] == inspection.OK]
    shown = {photo.digest for entry in entries for photo in entry.photos}
    found = evidence.read(run.output_dir / "bottlenecks", usable, shown)
    pictured = run.photos["digest"].isin(shown.union(found.photos["digest"]))
    unlabelled = _files(files.iloc[len(run.photos) :])
    places_of = {digest: places.parse(path) for digest, path in unlabelled}
    places_of |= {digest: run.image_dir / path for digest, path in _files(run.photos[pictured])}
    return Subject(
        queue=Queue(entries, files, file, who),
        photos=places_of,
        labels=sorted({*usable["label"], *corrections.labels(lines)}),
        evidence=found,
        guessed=suggestions.guesses(suggested),
        run=run,
        version=version,
    )


def _outside(lines: Sequence[Correction], known: set[str]) -> pd.DataFrame:
    """Return digest and path of other photos outside the image folder that have decisions."""
    outside = {
        line.digest: line.path
        for line in lines
        if line.digest not in known and Path(line.path).is_absolute() and Path(line.path).is_file()
    }
    return pd.DataFrame(outside.items(), columns=["digest", "path"])


def _version(output_dir: Path) -> str:
    suggested = suggestions.newest_file(output_dir)
    return naming.digest(last_run.recorded(output_dir), suggested.name if suggested else "")


def _files(rows: pd.DataFrame) -> Any:
    return rows[["digest", "path"]].itertuples(index=False)
