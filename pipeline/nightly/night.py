"""A night: compare its model with the current one, decide, and record the decision."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.bottlenecks import reader, recipe
from pipeline.bottlenecks.reader import Bottlenecks, SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.files import disk_usage, locks, naming, output_store, timings
from pipeline.files.places import Place
from pipeline.nightly import (
    current_model,
    drift,
    history,
    promotion,
    promotion_gate,
    shared_state,
    tuning_plan,
)
from pipeline.nightly.history import Night
from pipeline.nightly.promotion_gate import Gate
from pipeline.photos import changes, decisions, manifest, split
from pipeline.photos.corrections import Correction

DRIFT_DAYS = 7  # photos added within this period are compared with earlier ones


@dataclass(frozen=True)
class Results:
    """The results of a night's steps.

    Attributes:
        image_dir, output_dir: the options of these names.
        manifest: file of the manifest.
        classes: folders of all classes' bottlenecks.
        recipe: recipe of the bottlenecks.
        head, evaluation, model: folders of these results.
        corrected: the corrections in force.
        handle: the module that the user passed.
        tuned: whether a module was fine-tuned tonight.
    """

    image_dir: Place
    output_dir: Path
    manifest: Path
    classes: list[Path]
    recipe: Recipe
    head: Path
    evaluation: Path
    model: Path
    corrected: tuple[Correction, ...] = ()
    handle: str = ""
    tuned: bool = False


def key(date: datetime.date, model: Path, gate: Gate) -> str:
    """Return a digest of what determines the decision: with the same key, it is made only once."""
    return naming.digest(date.isoformat(), model.name, gate.least_accuracy, gate.tolerance)


def is_decided(output_dir: Path, key: str) -> bool:
    """Return whether the history has a night with this key."""
    shared_state.pull(output_dir)
    return history.is_recorded(output_dir, key)


def decide(results: Results, date: datetime.date, gate: Gate) -> Night:
    """Promote tonight's model or keep the current one, and record the decision and its reason.

    If a run is killed in here, the next one completes it: `current` moves in one step, and what is
    not recorded yet is computed again.
    """
    with locks.exclusive(results.output_dir / locks.PROMOTION):  # the compared model stays current
        night = _decide(results, date, gate)
        shared_state.share_model(results.output_dir)
        shared_state.share_history(results.output_dir)
    return night


def _decide(results: Results, date: datetime.date, gate: Gate) -> Night:
    out = results.output_dir
    earlier = history.nights(out)
    manifests = [out / "manifests" / n.manifest for n in earlier[-2 * DRIFT_DAYS :] if n.manifest]
    output_store.open_store(out).fetch(manifests)
    table = manifest.read(results.manifest)
    last = _latest(out, earlier)
    listed = out / "manifests" / last.manifest if last else None
    previous = manifest.read(listed) if listed else None
    applied = manifest.read_applied(listed) if listed else None
    withdrawn = changes.withdrawn(previous, applied, table, results.corrected)
    current, recorded = current_model.get(out), promotion.recorded_model(out)
    is_current = current == results.model.resolve()
    move, change_of_module = None, ""
    if is_current and current == recorded:
        outcome, measured = history.UNCHANGED, None
        reason = _why_unchanged(out, last, results.model)
    else:
        opponent = recorded if is_current else current
        verdict = promotion_gate.evaluate(
            results.model,
            opponent,
            SplitReader(results.classes, split.TESTING),
            results.image_dir,
            results.recipe,
            gate,
            decisions.given_labels(results.corrected, table),
            dict(withdrawn[["digest", "label"]].itertuples(index=False)),
        )
        change_of_module = _change_of_module(opponent, results.recipe)
        reasons, notes, measured = verdict.reasons, verdict.notes, verdict.comparison
        if promotion.was_rolled_back(out, results.model):
            reasons += ("this model was rolled back earlier",)
        if reasons:
            command = promotion.ADVICE + promotion.command(out, results.model)
            outcome = history.REFUSED
            reason = history.SEPARATOR.join((*reasons, *notes, command))
        else:
            move = promotion.promote(out, results.model, promotion.NIGHTLY)
            outcome, reason = history.PROMOTED, history.SEPARATOR.join(notes)
    corrected = [
        *changes.correction_lines(previous, table, results.corrected),
        *changes.withdrawn_lines(withdrawn),
    ]
    module = results.recipe.module
    before = {n.module for n in earlier if n.date != date.isoformat()}
    note = tuning_plan.describe(out, module, results.tuned, before) or change_of_module
    reason = history.SEPARATOR.join(filter(None, (reason, note, *corrected)))
    change = changes.compare(previous, table)
    evaluation = json.loads((results.model / "evaluation.json").read_text(encoding="utf-8"))
    count = evaluation["count"]
    correct = round(evaluation["top1"] * count) if count else 0
    drifted, since = _drift(results, date, earlier) if change.added else (None, "")
    begin = min(date, datetime.date.today())  # the date may be in the future
    night = Night(
        date=date.isoformat(),
        outcome=outcome,
        reason=reason,
        key=key(date, results.model, gate),
        photos=int((table["split"] != "").sum()),
        classes=int(table.loc[table["split"] != "", "label"].nunique()),
        arrived=change.added,
        gone=change.removed,
        relabelled=change.relabelled,
        test_photos=count,
        correct=correct,
        fixed=measured.fixed if measured else None,
        broken=measured.broken if measured else None,
        drift=drifted,
        flags=tuple(_flags(history.accuracy_drop(earlier, correct, count), drifted, since)),
        seconds=_seconds(results, earlier[-1].finished if earlier else begin.isoformat()),
        disk_bytes=disk_usage.total_bytes(out),
        model=results.model.name,
        evaluation=results.evaluation.name,
        head=results.head.name,
        manifest=results.manifest.name,
        handle=results.handle,
        module=tuning_plan.recorded_name(out, module),
        tuned=results.tuned,
    )
    history.add(out, night, move)
    return night


def _change_of_module(opponent: Path | None, made_by: Recipe) -> str:
    if opponent is None:
        return ""
    try:
        before = recipe.read(opponent).module
    except (OSError, ValueError, TypeError, KeyError):  # of an earlier version
        return ""
    return tuning_plan.describe_change(before, made_by.module)


def _why_unchanged(output_dir: Path, last: Night | None, model: Path) -> str:
    if last and last.model == model.name:
        return "nothing changed, so the model stays"
    moves = history.promotions(output_dir)
    by_hand = moves and moves[-1].how == promotion.MANUAL
    how = ": it was promoted by hand (make train or make promote)" if by_hand else ""
    return f"the model of today's photos was the current one already{how}"


def _flags(drop: str | None, drifted: float | None, since: str) -> Iterator[str]:
    if drop:
        yield drop
    if drifted is not None and drifted < history.ALARM:
        yield (
            f"Drift: photos added since {since} differ from earlier photos of the same classes "
            f"(p = {drifted:.3f})"
        )


def _latest(output_dir: Path, nights: list[Night]) -> Night | None:
    """Return the latest night whose manifest still exists, or None."""
    manifests = output_dir / "manifests"
    usable = [n for n in nights if n.manifest and (manifests / n.manifest).exists()]
    return usable[-1] if usable else None


def _drift(results: Results, date: datetime.date, earlier: list[Night]) -> tuple[float | None, str]:
    """Return the p-value of the drift of photos that are not in last week's manifest, and its date.

    In the first week, the oldest night serves as reference.
    """
    week_ago = (date - datetime.timedelta(days=DRIFT_DAYS)).isoformat()
    reference = _latest(results.output_dir, [n for n in earlier if n.date <= week_ago])
    reference = reference or next((n for n in earlier if _latest(results.output_dir, [n])), None)
    if reference is None:
        return None, ""
    earlier_photos = manifest.read(results.output_dir / "manifests" / reference.manifest)
    digests, labels = set(earlier_photos["digest"]), tuple(earlier_photos["label"].unique())

    def photos(old: bool, labels: tuple[str, ...]) -> Iterator[Bottlenecks]:
        for name in split.SPLITS:
            for batch in SplitReader(results.classes, name).batches():
                is_old = np.array([digest in digests for digest in batch.digests], bool)
                yield batch.where(is_old == old).with_labels(labels)

    new = reader.sample_by_digest(photos(False, labels), drift.MAX_NEW)
    old = new and reader.sample_by_digest(photos(True, tuple(set(new.labels))), drift.MAX_OLD)
    return (drift.p_value(new, old) if new and old else None), reference.date


def _seconds(results: Results, since: str) -> dict[str, float]:
    """Return the time by step that tonight's results took, from an ISO date or time on."""
    begin = datetime.datetime.fromisoformat(since).astimezone()
    targets = {
        f"manifests/{results.manifest.name}",
        f"heads/{results.head.name}",
        f"evaluations/{results.evaluation.name}",
        f"models/{results.model.name}",
        str(results.classes[0].parent.relative_to(results.output_dir)),
    }
    seconds: dict[str, float] = {}
    for timing in timings.read(results.output_dir):
        is_ours = timing.target in targets or timing.target.startswith(
            ("modules/", "tuned/", "checks/")
        )
        if is_ours and datetime.datetime.fromisoformat(timing.finished) >= begin:
            seconds[timing.step] = round(seconds.get(timing.step, 0) + timing.seconds, 2)
    return seconds
