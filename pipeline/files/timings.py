"""How long each step took: `timings.jsonl` in the output folder, a line for each step that ran.

Nothing depends on it: it is no part of a digest, and may be deleted.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

_NAME = "timings.jsonl"


@dataclass(frozen=True)
class Timing:
    """One step that ran.

    Attributes:
        step: name of the task.
        target: what it wrote, relative to the output folder; of several, the folder they are in.
        seconds: of wall clock.
        finished: date and time, ISO 8601, UTC.
    """

    step: str
    target: str
    seconds: float
    finished: str


def add(output_dir: Path, step: str, target: Path, seconds: float) -> None:
    """Write down that a step has run. Several processes may do so at a time."""
    name = _name(output_dir, target)
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps(asdict(Timing(step, name, round(seconds, 2), finished)))
    output_dir.mkdir(parents=True, exist_ok=True)
    with (output_dir / _NAME).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read(output_dir: Path) -> list[Timing]:
    """All that is written down, the oldest first; lines that are damaged are passed over."""
    try:
        lines = (output_dir / _NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Timing(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def last(step_timings: list[Timing], output_dir: Path, target: Path) -> Timing | None:
    """The last run that wrote a target."""
    name = _name(output_dir, target)
    return next((t for t in reversed(step_timings) if t.target == name), None)


def _name(output_dir: Path, target: Path) -> str:
    return os.path.relpath(target, output_dir)
