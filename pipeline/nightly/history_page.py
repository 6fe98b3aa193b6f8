"""The history as text, and as a page with the trend of the accuracy.

python -m pipeline.nightly.history_page --output-dir data/output
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic, html, output_store, places
from pipeline.nightly import history, shared_state, timeline
from pipeline.nightly.history import Night

PAGE = "history.html"  # in the output folder
WIDTH, HEIGHT, MARGIN = 900, 260, 50  # of the chart, in its own units


@dataclass(frozen=True)
class Point:
    """A night in the chart.

    Attributes:
        night: row of the history.
        x, y: position relative to the upper left corner.
    """

    night: Night
    x: float
    y: float


def chart(nights: list[Night]) -> tuple[list[Point], list[tuple[float, float]]]:
    """Return the points of the chart, and its grid lines (share and y), lowest first.

    The axis ends at 100%, and begins at the multiple of 10% below the lowest accuracy.
    """
    measured = [(night, night.top1) for night in nights if night.top1 is not None]
    floor = min([int(top1 * 10) / 10 for _, top1 in measured if top1 < 1], default=0.9)
    step = (WIDTH - 2 * MARGIN) / max(1, len(measured) - 1)

    def y(share: float) -> float:
        return round(MARGIN + (1 - share) / (1 - floor) * (HEIGHT - 2 * MARGIN), 1)

    points = [Point(n, round(MARGIN + i * step, 1), y(t)) for i, (n, t) in enumerate(measured)]
    levels = [floor + (1 - floor) * i / 2 for i in range(3)]
    return points, [(level, y(level)) for level in levels]


def write(output_dir: Path) -> Path:
    """Write the page, and return its path."""
    nights = timeline.read(output_dir)
    points, levels = chart(nights)
    page = html.render(
        "history.html",
        nights=nights[::-1],
        points=points,
        levels=levels,
        line=[point for point in points if point.night.outcome != history.REFUSED],
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    )
    with atomic.write(output_dir / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output_dir / PAGE


def main() -> None:
    """Print the history, and write the page."""
    parser = argparse.ArgumentParser(description="Print the outcome of each night.")
    parser.add_argument("--output-dir", default="data/output")
    try:
        output_dir = places.existing_output(
            output_store.local_folder(parser.parse_args().output_dir)
        )
        shared_state.pull(output_dir)
    except UserError as error:
        sys.exit(str(error))
    nights = timeline.read(output_dir)
    if not nights:
        sys.exit(f"{output_dir} has no history yet; start one with: make nightly")
    # A terminal or pipe may lack letters of the labels.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for line in history.lines(nights):
        print(line)
    print(f"Chart and details: {write(output_dir)}")


if __name__ == "__main__":
    main()
