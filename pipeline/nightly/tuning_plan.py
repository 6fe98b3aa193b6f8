"""The plan for the module of a night: which one it uses, and whether it is fine-tuned."""

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline.bottlenecks import recipe
from pipeline.files import output_store
from pipeline.modules.loading import Module
from pipeline.nightly import history, promotion, shared_state

FOLDER = "tuned"  # of fine-tuned modules, in the output folder
# Options that change the vectors of the same module, by the fields of `Module`.
_OPTIONS = {
    "image_range": "image_range",
    "output": "module_output",
    "exif_orientation": "exif_orientation",
    "background": "background",
}


@dataclass(frozen=True)
class TuningPlan:
    """What a night does about its module.

    Attributes:
        handle: the module to use, or to start from.
        tune: whether it is fine-tuned tonight.
    """

    handle: str
    tune: bool


def plan(
    output_dir: Path, date: datetime.date, every: int, handle: str, image_size: int
) -> TuningPlan:
    """Plan a night from the history, so that a night that is run again has the same plan.

    The module is that of the model that the history records as current: after a rollback, it is the
    earlier one. If it was not fine-tuned, or the user has passed another module or size since, it
    is the user's.

    Args:
        output_dir: the output folder.
        date: the night.
        every: days between two fine-tunings.
        handle: the module that the user passed.
        image_size: its input size that the user passed; 0: any.
    """
    shared_state.pull(output_dir)
    nights = history.nights(output_dir)
    tuned = [night for night in nights if night.tuned]
    tonight = [night for night in tuned if night.date == date.isoformat()]
    if tonight:
        return TuningPlan(_local(output_dir, tonight[-1].module) or handle, tune=False)
    model = promotion.recorded_model(output_dir)
    module = recipe.read(model).module if model else None
    start = ""
    if model and module and module.tuned_from and image_size in (0, module.height):
        passed = [n.handle for n in nights if n.model == model.name and n.handle]
        if handle == (passed[-1] if passed else module.tuned_from):
            start = _local(output_dir, recorded_name(output_dir, module))
    last = max((night.date for night in tuned), default="")
    days = (date - datetime.date.fromisoformat(last)).days if last else every
    return TuningPlan(start or handle, tune=days >= every)


def folder(output_dir: Path, module: Module) -> Path | None:
    """Return the result of fine-tuning that contains a module; None if it was not fine-tuned."""
    return output_dir / FOLDER / Path(module.directory).parent.name if module.tuned_from else None


def recorded_name(output_dir: Path, module: Module) -> str:
    """Return how the history names a module: its handle, or `tuned/<digest>/<name>`."""
    result = folder(output_dir, module)
    return f"{FOLDER}/{result.name}/{Path(module.directory).name}" if result else module.handle


def describe(output_dir: Path, module: Module, tune: bool, before: Collection[str] = ()) -> str:
    """Return a note on a night's module for its row in the history; empty if never fine-tuned.

    Args:
        output_dir: the output folder.
        module: the module that the night used.
        tune: whether a module was fine-tuned that night.
        before: the modules of the nights before, by `recorded_name`.
    """
    result = folder(output_dir, module)
    if result is None or (tune and recorded_name(output_dir, module) in before):
        return "the module was fine-tuned without success, and stays as it was" if tune else ""
    when = "fine-tuned tonight" if tune else "fine-tuned earlier"
    return f"module {module.tuned_from}, {when} ({FOLDER}/{result.name})"


def describe_change(before: Module, after: Module) -> str:
    """Return how a night's module differs from that of the current model; empty if it does not.

    Two handles of the same content are the same module.
    """
    was, now = (f"{m.handle} at {m.height} x {m.width} pixels" for m in (before, after))
    same_size = (before.height, before.width) == (after.height, after.width)
    if before.digest != after.digest and was == now:
        return f"the content of the module {after.handle} changed"
    if before.digest != after.digest or not same_size:
        return f"the module changed from {was} to {now}"
    changed = [n for n in _OPTIONS if getattr(before, n) != getattr(after, n)]
    return (
        f"options of the module changed: {', '.join(_OPTIONS[n] for n in changed)}"
        if changed
        else ""
    )


def _local(output_dir: Path, name: str) -> str:
    """Return the handle of a module that the history names; empty if it was deleted."""
    if not name.startswith(f"{FOLDER}/"):
        return name
    directory = output_dir / name
    output_store.open_store(output_dir).fetch([directory.parent])
    return str(directory) if directory.is_dir() else ""
