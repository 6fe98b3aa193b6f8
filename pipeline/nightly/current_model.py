"""The current model: where `current` points, and how it moves."""

import os
import shutil
from pathlib import Path

from pipeline.files import atomic

_SERVED = 2  # versions kept for TensorFlow Serving: the newest, and the one it may still read


def get(output_dir: Path) -> Path | None:
    """The folder of the current model, if there is one."""
    link = output_dir / "current"
    return link.resolve() if link.is_dir() else None


def switch(directory: Path, output_dir: Path) -> None:
    """Let `current` lead to a model, and TensorFlow Serving find it as its newest version.

    `serving/<number>/` holds the SavedModel's files once more, as hard links, which take no room:
    a container that is given `serving` could not follow a symbolic link out of it.
    """
    serving = output_dir / "serving"
    numbers = sorted(int(p.name) for p in serving.glob("[0-9]*") if p.name.isdigit())
    newest = serving / str(numbers[-1] if numbers else 0)
    if not _same(newest, directory / "saved_model"):  # as after a run that was killed just here
        with atomic.write(serving / str(int(newest.name) + 1)) as temporary:
            shutil.copytree(directory / "saved_model", temporary, copy_function=_link)
        for number in numbers[: 1 - _SERVED]:
            shutil.rmtree(serving / str(number))
    atomic.symlink(output_dir / "current", directory)


def _same(version: Path, saved_model: Path) -> bool:
    served = version / "saved_model.pb"
    return served.exists() and served.samefile(saved_model / "saved_model.pb")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
