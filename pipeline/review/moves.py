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
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import IO

import pandas as pd

from pipeline.errors import UserError
from pipeline.files import atomic, output_store, places
from pipeline.files.numbers import counted
from pipeline.photos import corrections, decisions, sources, split
from pipeline.photos.corrections import EXCLUDE, RELABEL, Correction
from pipeline.photos.file_names import composed, printable
from pipeline.review import last_run

MOVE, COPY = "move", "copy"
_WITHOUT_MOVES = (
    "Training works without moving: `make train` alone applies all decisions about photos in the "
    "image folder. New photos must be copied into the folders of their classes by somebody who can "
    "write there"
)


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
        yield from _checked(Move(MOVE, str(image_dir / path), str(target), digest), taken)
    here = set(photos["digest"])
    training = _training_folder(photos["path"]) if depth > 1 else ""
    for line in lines:
        if line.action == RELABEL and line.digest not in here and Path(line.path).is_absolute():
            target = image_dir / training / line.label / Path(line.path).name
            yield from _checked(Move(COPY, line.path, str(target), line.digest), taken)


def _depth(paths: "pd.Series[str]") -> int:
    """Return the number of folders down to that of the class."""
    firsts = paths.str.partition("/")[0].unique()
    return 2 if all(split.part_of(first) for first in firsts) else 1


def _training_folder(paths: "pd.Series[str]") -> str:
    firsts = paths.str.partition("/")[0].unique()
    return next(str(first) for first in firsts if split.part_of(first) == split.TRAINING)


def _checked(move: Move, taken: set[Path]) -> Iterator[Move | str]:
    """Yield the move to a free name, or why it is not possible; nothing if it was made already."""
    source, target, number = Path(move.source), Path(move.target), 1
    is_file = sources.is_file(source)
    is_same = is_file and _has_content(source, move.digest)
    while target.exists() or target in taken:
        if (move.how == COPY or not is_same) and _has_content(target, move.digest):
            return
        number += 1
        target = Path(move.target).with_stem(f"{Path(move.target).stem}-{number}")
    if not is_file:
        yield f"{printable(move.source)} is in a tar file; only the corrections can change it"
    elif not is_same:
        yield f"{printable(move.source)} is not there any more, is not readable, or has changed"
    else:
        taken.add(target)
        yield replace(move, target=str(target))


def _has_content(path: Path, digest: str) -> bool:
    try:
        content = path.read_bytes()
    except OSError:  # it is missing, a folder, or not readable
        return False
    return hashlib.sha256(content).hexdigest() == digest


def carry_out(moves: Sequence[Move], undo_list: Path) -> None:
    """Move and copy files, after writing the list with which `undo` reverts that.

    Raises:
        UserError: if a folder is read-only, or the list cannot be written: nothing was moved then;
            or if a file cannot be moved: those before it have been.
    """
    _check_writable(moves)
    try:
        with atomic.write(undo_list) as temporary, _open(temporary, "w") as file:
            writer = csv.writer(file)
            writer.writerow(field.name for field in fields(Move))
            writer.writerows(map(astuple, moves))
    except OSError as error:
        raise UserError(
            f"cannot write {undo_list} ({error.strerror}), so nothing was moved. {_WITHOUT_MOVES}"
        ) from None
    for done, move in enumerate(moves):
        source, target = Path(move.source), Path(move.target)
        try:
            if move.how == MOVE:
                _move(source, target)
                _remove_empty(source.parent)
            else:
                with atomic.write(target) as unfinished:
                    shutil.copy2(source, unfinished)
        except OSError as error:
            _remove_empty(*target.parents)
            reason = f"cannot {move} ({error.strerror})"
            if done:
                raise UserError(
                    f"{reason}; to move the files before it back, pass UNDO={undo_list}"
                ) from None
            undo_list.unlink()
            raise UserError(f"{reason}, so nothing was moved. {_WITHOUT_MOVES}") from None


def _check_writable(moves: Sequence[Move]) -> None:
    for move in moves:
        target = next(parent for parent in Path(move.target).parents if parent.is_dir())
        for folder in (Path(move.source).parent, target) if move.how == MOVE else (target,):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise UserError(
                    f"{printable(str(folder))} is read-only, so nothing was moved. {_WITHOUT_MOVES}"
                )


def _move(source: Path, target: Path) -> None:
    """Move a file. If that fails, it stays where it was, and only there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    except BaseException:
        if source.exists():  # `shutil.move` may have copied it, and failed to delete it
            with suppress(OSError):
                target.unlink()
        raise


def _remove_empty(*folders: Path) -> None:
    """Remove folders without files, which would be classes without photos."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def undo(undo_list: Path) -> tuple[list[Move], list[str]]:
    """Revert what `carry_out` did.

    Returns:
        The moves that were reverted, and why others cannot be.

    Raises:
        UserError: if the list is missing or damaged, or a file cannot be moved.
    """
    reverted, problems = list[Move](), list[str]()
    for move in reversed(_read(undo_list)):
        source, target = Path(move.source), Path(move.target)
        if not target.is_file():
            if move.how == MOVE and not source.exists():
                problems.append(f"{printable(move.target)} is not there any more")
            continue  # it was not moved, or has been moved back
        if not _has_content(target, move.digest):
            problems.append(f"{printable(move.target)} has changed since")
            continue
        if move.how == MOVE and source.exists():
            problems.append(f"{printable(move.source)} exists again")
            continue
        try:
            if move.how == COPY:
                target.unlink()
            else:
                _move(target, source)
        except OSError as error:
            raise UserError(
                f"cannot undo: {move} ({error.strerror}); solve this, and run again"
            ) from None
        _remove_empty(*target.parents)  # up to the folder of excluded photos
        reverted.append(move)
    return reverted, problems


def _open(undo_list: Path, mode: str) -> IO[str]:
    # A file name may be anything, not only UTF-8.
    return undo_list.open(mode, newline="", encoding="utf-8", errors="surrogateescape")


def _read(undo_list: Path) -> list[Move]:
    try:
        with _open(undo_list, "r") as file:
            header, *rows = csv.reader(file)
        moves = [Move(*row) for row in rows]
    except OSError as error:
        raise UserError(f"UNDO: {undo_list} cannot be read: {error.strerror}") from None
    except (csv.Error, TypeError, ValueError):
        header, moves = [], []
    if header != [field.name for field in fields(Move)] or {m.how for m in moves} - {MOVE, COPY}:
        raise UserError(
            f"UNDO: {undo_list} is not a complete list of moves; pass the file that APPLY=1 named"
        )
    return moves


def main() -> None:
    """List the moves, carry them out, or revert them."""
    parser = argparse.ArgumentParser(description="Move files to the classes of corrections.")
    parser.add_argument("--output-dir", default="data/output")
    parser.add_argument("--corrections", default="", help="default: those of the last run")
    parser.add_argument("--apply", action="store_true", help="move; without it, only list")
    parser.add_argument("--undo", type=Path, help="list of moves to revert")
    arguments = parser.parse_args()
    try:
        output_dir = places.existing_output(output_store.local_folder(arguments.output_dir))
        if arguments.undo:
            _undo(arguments.undo, output_dir)
        else:
            _run(output_dir, arguments.corrections, arguments.apply)
    except UserError as error:
        sys.exit(str(error))
    except KeyboardInterrupt as error:
        print(f"Interrupted. {error}".strip(), file=sys.stderr)
        sys.exit(130)


def _undo(named: Path, output_dir: Path) -> None:
    beside = _beside(output_dir) / named.name
    undo_list = beside if not named.exists() and beside.exists() else named
    try:
        reverted, problems = undo(undo_list)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "To move the other files back, run the same command again"
        ) from None
    for problem in problems:
        print(f"Skipped: {problem}")
    if reverted or problems:
        print(_summary(reverted, "moved back", "deleted again"))
    else:
        print("Nothing to move back: this list was undone already")
    moves = _read(undo_list)
    deleted = [move for move in moves if move.how == COPY and not Path(move.target).exists()]
    applied = ": training still applies them" if len(deleted) < len(moves) else ""
    gone = ", but photos whose copies were deleted are no longer part of the training"
    print(f"The lines in {corrections.FILE} stay{applied}{gone if deleted else ''}")


def _run(output_dir: Path, named: str, apply: bool) -> None:
    run = last_run.find(output_dir)
    if not isinstance(run.image_dir, Path):
        raise UserError(
            f"image_dir: files on an object store ({run.image_dir}) are not moved; copy newly "
            "labelled photos there yourself. All other corrections work without moves"
        )
    file = run.corrections_file(named)
    lines = last_run.read_corrections(output_dir, file)
    labels = {
        run.folder_labels.get(path, label)
        for path, label in run.photos[["path", "label"]].itertuples(index=False)
    }
    planned = list(plan(lines, run.photos, run.image_dir))
    moves = [move for move in planned if isinstance(move, Move)]
    for step in planned:
        print(step if isinstance(step, Move) else f"Skipped: {step}")
    for label in sorted(corrections.labels(lines) - labels) if moves else ():
        if not (run.image_dir / label).is_dir():  # files may have been moved since the run
            print(corrections.announcement(label, labels))
    if not moves:
        print("There is nothing to move")
    elif not apply:
        print(f"{_summary(moves, 'to move', 'to copy')}. To do that:")
        print(f"    {run.command('apply-corrections', file, 'APPLY=1')}")
    else:
        undo_list = _beside(output_dir) / f"moves-{time.strftime('%Y%m%d-%H%M%S')}.csv"
        undo_command = run.command("apply-corrections", file, f"UNDO={undo_list}")
        try:
            carry_out(moves, undo_list)
        except KeyboardInterrupt:
            done = sum(Path(move.target).exists() for move in moves)
            if not done:
                undo_list.unlink(missing_ok=True)
            raise KeyboardInterrupt(
                f"{done:,} of {counted(len(moves), 'file')} moved or copied"
                + (f"; to undo that: {undo_command}" if done else "")
            ) from None
        print(f"{_summary(moves, 'moved', 'copied')}. To undo that:\n    {undo_command}")
        print(f"To train with the files in their new places:\n    {run.command('train', file)}")


def _beside(output_dir: Path) -> Path:
    """Return the folder of lists of moves."""
    return output_dir.absolute().parent


def _summary(moves: Sequence[Move], moved: str, copied: str) -> str:
    copies = sum(move.how == COPY for move in moves)
    parts = [(len(moves) - copies, moved), (copies, copied)]
    shown = [f"{counted(number, 'file')} {done}" for number, done in parts if number]
    return ", ".join(shown) or f"0 files {moved}"


if __name__ == "__main__":
    main()
