"""Files: unreadable, in the wrong format, of one colour, tiny, or without colour."""

from collections.abc import Iterator
from pathlib import PurePath

import pandas as pd

from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.photos import inspection
from pipeline.photos.inspection import Problem

UNREADABLE, FORMAT, UNIFORM = "unreadable", "format", "uniform"
TINY, GREY = "tiny", "greyscale"
_TINY = 4  # times smaller than the module's input
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield problems of the files themselves."""
    listed = context.listed
    others = [Problem.NONE, Problem.UNLISTED, Problem.SKIPPED, Problem.EXCLUDED]
    aside = listed[~listed["problem"].isin(others)]
    for path, status, problem in zip(aside["path"], aside["status"], aside["problem"], strict=True):
        yield Finding(FORMAT if problem == Problem.UNSUPPORTED else UNREADABLE, status, (path,))
    usable = listed[listed["status"] == inspection.OK]
    for path in usable["path"][~usable["path"].isin(context.photos["path"])]:
        yield Finding(UNREADABLE, "cannot be decoded; replace it", (path,))
    for path, kind in zip(usable["path"], usable["format"], strict=True):
        suffix = PurePath(path).suffix.lower()
        if suffix and suffix not in _SUFFIXES[kind]:
            yield Finding(FORMAT, f"is a {kind} despite its name; rename it", (path,))
    for path in usable["path"][usable["digest"].isin(context.uniform)]:
        yield Finding(UNIFORM, "is nearly of one colour once decoded", (path,))
    yield from _tiny(context, usable)
    grey = usable["path"][usable["grey"]]
    if len(grey) < len(usable) / 2:  # otherwise, it is normal for this data set
        for path in grey:
            yield Finding(GREY, "has no colour, unlike most others", (path,))


def _tiny(context: CheckContext, usable: pd.DataFrame) -> Iterator[Finding]:
    needed = context.input
    small = (usable["width"] * _TINY < needed.width) | (usable["height"] * _TINY < needed.height)
    tiny = usable[small]
    for path, width, height in zip(tiny["path"], tiny["width"], tiny["height"], strict=True):
        detail = f"{width} x {height} pixels; the module sees {needed.width} x {needed.height}"
        yield Finding(TINY, detail, (path,), score=-float(min(width, height)))
