"""The current model: where the link `current` points, and how it moves."""

import os
import shutil
from pathlib import Path

from pipeline.files import atomic

_SERVED_VERSIONS = 2  # the newest, and the one that TensorFlow Serving may still be reading


def get(output_dir: Path) -> Path | None:
    """Return the folder of the current model, or None if there is none."""
    link = output_dir / "current"
    return link.resolve() if link.is_dir() else None


def switch(model: Path, output_dir: Path) -> None:
    """Point `current` at a model, and add it as the newest version for TensorFlow Serving.

    `serving/<number>/` holds hard links to the SavedModel's files, which take no space: a container
    that mounts `serving` could not follow a symbolic link out of it.
    """
    serving = output_dir / "serving"
    numbers = sorted(int(p.name) for p in serving.glob("[0-9]*") if p.name.isdigit())
    newest = serving / str(numbers[-1] if numbers else 0)
    if not _serves(newest, model / "saved_model"):  # it does after a run that was killed here
        with atomic.write(serving / str(int(newest.name) + 1)) as temporary:
            shutil.copytree(model / "saved_model", temporary, copy_function=_link)
        for number in numbers[: 1 - _SERVED_VERSIONS]:
            shutil.rmtree(serving / str(number))
    atomic.symlink(output_dir / "current", model)


def _serves(version: Path, saved_model: Path) -> bool:
    served = version / "saved_model.pb"
    return served.exists() and served.samefile(saved_model / "saved_model.pb")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
