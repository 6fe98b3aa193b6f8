"""The history as text and as a page.

python -m pipeline.nightly.history_page --output-dir data/output
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic, html, output_store
from pipeline.nightly import history, shared_state
from pipeline.nightly.history import Night

PAGE = "history.html"  # in the output folder
WIDTH, HEIGHT, MARGIN = 900, 260, 50  # of the chart, in its own units


@dataclass(frozen=True)
class Point:
    """A night in the chart.

    Attributes:
        night: of the history.
        x, y: where it stands, from the upper left corner.
    """

    night: Night
    x: float
    y: float


def chart(nights: list[Night]) -> tuple[list[Point], list[tuple[float, float]]]:
    """Where the nights stand in the chart, and its levels: share and y, the lowest first.

    The axis ends at 100 % and begins at the ten per cent below the lowest accuracy.
    """
    measured = [(night, night.top1) for night in nights if night.top1 is not None]
    floor = min([int(top1 * 10) / 10 for _, top1 in measured if top1 < 1], default=0.9)
    step = (WIDTH - 2 * MARGIN) / max(1, len(measured) - 1)

    def y(share: float) -> float:
        return round(MARGIN + (1 - share) / (1 - floor) * (HEIGHT - 2 * MARGIN), 1)

    marks = [Point(n, round(MARGIN + i * step, 1), y(t)) for i, (n, t) in enumerate(measured)]
    levels = [floor + (1 - floor) * i / 2 for i in range(3)]
    return marks, [(level, y(level)) for level in levels]


def write(output_dir: Path) -> Path:
    """Write the page with the trend over all nights."""
    nights = history.nights(output_dir)
    marks, levels = chart(nights)
    page = html.render(
        "history.html",
        nights=nights[::-1],
        marks=marks,
        levels=levels,
        line=[mark for mark in marks if mark.night.outcome != history.REFUSED],
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    )
    with atomic.write(output_dir / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output_dir / PAGE


def main() -> None:
    """Print the history, and write the page."""
    parser = argparse.ArgumentParser(description="Print what became of each night.")
    parser.add_argument("--output-dir", default="data/output")
    try:
        output_dir = output_store.local_folder(parser.parse_args().output_dir)
        shared_state.pull(output_dir)
    except UserError as error:
        sys.exit(str(error))
    if not (output_dir / history.FILE).exists():
        sys.exit(f"{output_dir} has no history yet; it begins with the first make nightly")
    for line in history.lines(history.nights(output_dir)):
        print(line)
    print(f"The page with the trend is {write(output_dir)}")


if __name__ == "__main__":
    main()
