"""Moves: bring the image folder in line with the corrections, for those who prefer that.

    python -m pipeline.review.moves --output-dir data/output            # list the moves
    python -m pipeline.review.moves --output-dir data/output --apply    # carry them out
    python -m pipeline.review.moves --undo moves-20260131-120000.csv    # move the files back

Relabelled photos move to the folder of their class, excluded ones to a folder beside the image
folder, and photos from elsewhere that were given a label are copied.
"""

import argparse
import csv
import hashlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import atomic, output_store, places
from pipeline.photos import corrections, decisions, sources, split
from pipeline.photos.corrections import EXCLUDE, RELABEL, Correction
from pipeline.photos.file_names import composed, leftover, printable
from pipeline.review import last_run

MOVE, COPY = "move", "copy"


@dataclass(frozen=True)
class Move:
    """A file to move or copy, with the SHA-256 of its bytes."""

    how: str
    source: str
    target: str
    digest: str

    def __str__(self) -> str:
        return f"{self.how} {printable(self.source)} to {printable(self.target)}"


def plan(
    lines: Sequence[Correction], photos: pd.DataFrame, image_dir: Path
) -> Iterator[Move | str]:
    """Yield the moves that the corrections ask for, and why others are not possible.

    Args:
        lines: the corrections in force.
        photos: rows of the newest manifest.
        image_dir: the image folder.
    """
    depth = _depth(photos["path"])
    excluded = image_dir.with_name(f"{image_dir.name}-excluded")
    decided = decisions.decide(lines, photos)
    taken = set[Path]()
    for digest, path in photos.loc[photos["path"].isin(decided), ["digest", "path"]].to_numpy():
        decision, parts = decided[path], PurePosixPath(path).parts
        if decision.action == EXCLUDE:
            target = excluded.joinpath(path)
        elif decision.action == RELABEL and composed(parts[depth - 1]) != decision.label:
            target = image_dir.joinpath(*parts[: depth - 1], decision.label, *parts[depth:])
        else:
            continue
        yield _checked(
            Move(MOVE, str(image_dir / path), str(target), digest), decision.label, taken
        )
    here = set(photos["digest"])
    training = _training_folder(photos["path"]) if depth > 1 else ""
    for line in lines:
        if line.action == RELABEL and line.digest not in here and Path(line.path).is_absolute():
            target = image_dir / training / line.label / Path(line.path).name
            yield _checked(Move(COPY, line.path, str(target), line.digest), line.label, taken)


def _depth(paths: "pd.Series[str]") -> int:
    """Return the number of folders down to that of the class."""
    firsts = paths.str.partition("/")[0].unique()
    return 2 if all(split.part_of(first) for first in firsts) else 1


def _training_folder(paths: "pd.Series[str]") -> str:
    firsts = paths.str.partition("/")[0].unique()
    return next(str(first) for first in firsts if split.part_of(first) == split.TRAINING)


def _checked(move: Move, label: str, taken: set[Path]) -> Move | str:
    """Return the move to a free name, or why it is not possible."""
    source, target = Path(move.source), Path(move.target)
    if not sources.is_file(source):
        return f"{printable(move.source)} is in a tar file; only the corrections can change it"
    if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != move.digest:
        return f"{printable(move.source)} is not there any more, or has changed"
    if "/" in label or leftover(label):
        return f"{printable(move.source)}: {label!r} cannot be the name of a folder"
    number = 1
    while target.exists() or target in taken:
        number += 1
        target = Path(move.target).with_stem(f"{Path(move.target).stem}-{number}")
    taken.add(target)
    return Move(move.how, move.source, str(target), move.digest)


def carry_out(moves: Sequence[Move], undo_list: Path) -> None:
    """Move and copy files, after writing the list with which `undo` reverts that.

    Raises:
        UserError: if a file cannot be moved; those before it have been.
    """
    with atomic.write(undo_list) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Move))
        writer.writerows(map(astuple, moves))
    for move in moves:
        source, target = Path(move.source), Path(move.target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if move.how == MOVE:
                shutil.move(source, target)
            else:
                with atomic.write(target) as unfinished:
                    shutil.copy2(source, unfinished)
        except OSError as error:
            raise UserError(
                f"cannot {move} ({error.strerror}); to move the files before it back, pass "
                f"UNDO={undo_list}"
            ) from None


def undo(undo_list: Path) -> Iterator[str]:
    """Revert what `carry_out` did, and yield what cannot be reverted.

    Raises:
        UserError: if the list is missing or damaged.
    """
    try:
        with undo_list.open(newline="") as file:
            moves = [Move(**row) for row in csv.DictReader(file)]
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{undo_list} is not a list of moves: {error}") from None
    for move in reversed(moves):
        source, target = Path(move.source), Path(move.target)
        if not target.is_file():
            continue  # it was not moved, or has been moved back
        if hashlib.sha256(target.read_bytes()).hexdigest() != move.digest:
            yield f"{printable(move.target)} has changed since"
        elif move.how == COPY:
            target.unlink()
        elif source.exists():
            yield f"{printable(move.source)} exists again"
        else:
            source.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(target, source)


def main() -> None:
    """List the moves, carry them out, or revert them."""
    parser = argparse.ArgumentParser(description="Move files to the classes of corrections.")
    parser.add_argument("--output-dir", default="data/output")
    parser.add_argument("--corrections", default="", help="default: next to the output folder")
    parser.add_argument("--apply", action="store_true", help="move; without it, only list")
    parser.add_argument("--undo", type=Path, help="list of moves to revert")
    arguments = parser.parse_args()
    try:
        if arguments.undo:
            problems = list(undo(arguments.undo))
            print("\n".join([*problems, "The other files are where they were"]))
            return
        output_dir = places.existing_output(output_store.local_folder(arguments.output_dir))
        _run(output_dir, arguments.corrections, arguments.apply)
    except UserError as error:
        sys.exit(str(error))


def _run(output_dir: Path, named: str, apply: bool) -> None:
    run = last_run.find(output_dir)
    if not isinstance(run.image_dir, Path):
        raise UserError(f"image_dir: files on an object store ({run.image_dir}) are not moved")
    file = corrections.place(named, output_dir)
    planned = list(plan(corrections.read(file), run.photos, run.image_dir))
    moves = [move for move in planned if isinstance(move, Move)]
    for step in planned:
        print(step if isinstance(step, Move) else f"Skipped: {step}")
    if not apply:
        print(f"{len(moves):,} files to move. To move them, pass APPLY=1")
        return
    undo_list = output_dir.absolute().parent / f"moves-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    if moves:
        carry_out(moves, undo_list)
        print(f"{len(moves):,} files moved. To move them back, pass UNDO={undo_list}")


if __name__ == "__main__":
    main()
