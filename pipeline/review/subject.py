"""The subject of a review: findings, photos, and what speaks for and against their labels."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.files import output_store, places
from pipeline.files.places import Place
from pipeline.photos import corrections, inspection
from pipeline.review import evidence, last_run, queue, suggestions
from pipeline.review.evidence import Evidence, Guess
from pipeline.review.queue import Queue


@dataclass(frozen=True)
class Subject:
    """What the page is about.

    Attributes:
        queue: the findings, and the decisions about them.
        photos: where the photos of the page are, by digest.
        labels: the classes.
        evidence: what speaks for and against labels.
        guessed: probable labels of unlabelled photos, by digest.
        command: the command that trains with the corrections.
    """

    queue: Queue
    photos: Mapping[str, Place]
    labels: list[str]
    evidence: Evidence
    guessed: Mapping[str, list[Guess]]
    command: str


def read(output_dir: Path, file: Path, who: str) -> Subject:
    """Return the findings of the last run and the photos that are worth labelling next.

    Args:
        output_dir: the output folder.
        file: the file of corrections.
        who: the person who decides.

    Raises:
        UserError: if there are no findings, or the file of corrections is invalid.
    """
    run = last_run.find(output_dir)
    suggested = suggestions.newest(output_dir)
    entries = [*queue.entries(run.findings, run.photos), *suggestions.entries(suggested)]
    files = pd.concat([run.photos, suggested])[["digest", "path"]]
    usable = run.photos[run.photos["status"] == inspection.OK]
    shown = {photo.digest for entry in entries for photo in entry.photos}
    found = evidence.read(output_dir / "bottlenecks", usable, shown)
    pictured = run.photos["digest"].isin(shown.union(found.photos["digest"]))
    places_of = {digest: places.parse(path) for digest, path in _files(suggested)}
    places_of |= {digest: run.image_dir / path for digest, path in _files(run.photos[pictured])}
    words = ["make", "train", f"IMAGE_DIR={run.image_dir}"]
    words.append(f"OUTPUT_DIR={output_store.open_store(output_dir).url}")
    if file != corrections.place("", output_dir):
        words.append(f"CORRECTIONS={file}")
    return Subject(
        queue=Queue(entries, files, file, who),
        photos=places_of,
        labels=sorted(set(usable["label"])),
        evidence=found,
        guessed=suggestions.guesses(suggested),
        command=shlex.join(words),
    )


def _files(rows: pd.DataFrame) -> Any:
    return rows[["digest", "path"]].itertuples(index=False)
