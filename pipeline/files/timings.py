"""Step durations: `timings.jsonl` in the output folder, one line for each step that ran.

Nothing depends on the file: it is not part of any digest and can be deleted.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_NAME = "timings.jsonl"


@dataclass(frozen=True)
class Timing:
    """A step that ran.

    Attributes:
        step: name of the task.
        target: path of its output, or the folder of several outputs, relative to the output folder.
        seconds: wall-clock time.
        finished: date and time, ISO 8601, UTC.
    """

    step: str
    target: str
    seconds: float
    finished: str


def add(output_dir: Path, step: str, target: Path, seconds: float) -> None:
    """Record that a step has run. Several processes may do so at the same time."""
    name = _name(output_dir, target)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps(asdict(Timing(step, name, round(seconds, 2), finished)))
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / _NAME).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(output_dir: Path) -> list[Timing]:
    """Return all recorded timings, oldest first; damaged lines are skipped."""
    try:
        lines = (output_dir / _NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    timings = []
    for line in lines:
        try:
            timings.append(Timing(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return timings


def last(step_timings: list[Timing], output_dir: Path, target: Path) -> Timing | None:
    """Return the last run that wrote a target."""
    name = _name(output_dir, target)
    return next((t for t in reversed(step_timings) if t.target == name), None)


def _name(output_dir: Path, target: Path) -> str:
    return os.path.relpath(target, output_dir)
