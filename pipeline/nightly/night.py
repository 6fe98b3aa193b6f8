"""The end of a night: tonight's model against the current one, and a row in the history."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.bottlenecks import reader
from pipeline.bottlenecks.reader import Bottlenecks, SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation.comparison import Comparison
from pipeline.files import disk_usage, locks, naming, output_store, timings
from pipeline.files.places import Place
from pipeline.nightly import current_model, drift, history, promotion, promotion_gate, shared_state
from pipeline.nightly.history import Night
from pipeline.nightly.promotion_gate import Gate
from pipeline.photos import changes, manifest, split

DRIFT_DAYS = 7  # photos that arrived within so many days are compared with those before


@dataclass(frozen=True)
class Results:
    """What the steps of a night have made.

    Attributes:
        image_dir, output_dir: as the options of these names.
        manifest: file.
        classes: folders of all classes' bottlenecks.
        recipe: that made these.
        head, evaluation, model: folders.
    """

    image_dir: Place
    output_dir: Path
    manifest: Path
    classes: list[Path]
    recipe: Recipe
    head: Path
    evaluation: Path
    model: Path


def key(date: datetime.date, model: Path, gate: Gate) -> str:
    """Digest of what makes a night's decision: with the same key it is not taken again."""
    return naming.digest(date.isoformat(), model.name, gate.least_accuracy, gate.tolerance)


def is_decided(output_dir: Path, key: str) -> bool:
    """Return whether the history has a night with this key."""
    shared_state.pull(output_dir)
    return history.is_recorded(output_dir, key)


def decide(results: Results, date: datetime.date, gate: Gate) -> Night:
    """Promote tonight's model or keep the current one, and write down which and why.

    A run that was killed in here is repaired by the next one: `current` moves in one step, and
    what was not written down yet is found out again.
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
    now, before = current_model.get(out), promotion.recorded_model(out)
    same = now == results.model.resolve() and now == before
    move = None
    if same:
        outcome, reason, measured = history.UNCHANGED, "nothing changed, the model stays", None
    else:
        against = before if now == results.model.resolve() else now
        verdict = promotion_gate.evaluate(
            results.model,
            against,
            SplitReader(results.classes, split.TESTING),
            results.image_dir,
            results.recipe,
            gate,
        )
        objections, measured = verdict.objections, verdict.comparison
        if promotion.was_rolled_back(out, results.model):
            objections += ("somebody went back from this very model (make rollback)",)
        if objections:
            outcome, reason = history.REFUSED, "; ".join(objections)
        else:
            move = promotion.promote(out, results.model, promotion.NIGHTLY)
            outcome = history.PROMOTED
            reason = _figures(measured) if measured else "the first model"
    table = manifest.read(results.manifest)
    last = _latest(out, earlier)
    known = manifest.read(out / "manifests" / last.manifest) if last else None
    change = changes.compare(known, table)
    figures = json.loads((results.model / "evaluation.json").read_text(encoding="utf-8"))
    count = figures["count"]
    correct = round(figures["top1"] * count) if count else 0
    drifted, since = _drift(results, date, earlier) if change.added else (None, "")
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
        seconds=_seconds(results, earlier),
        disk_bytes=disk_usage.total_bytes(out),
        model=results.model.name,
        evaluation=results.evaluation.name,
        head=results.head.name,
        manifest=results.manifest.name,
    )
    history.add(out, night, move)
    return night


def _flags(drop: str | None, drifted: float | None, since: str) -> Iterator[str]:
    if drop:
        yield drop
    if drifted is not None and drifted < history.ALARM:
        yield (
            f"the photos that came since {since} look unlike the earlier ones of their classes "
            f"(p = {drifted:.3f})"
        )


def _figures(measured: Comparison) -> str:
    return (
        f"of {measured.count} test photos, {measured.fixed} are right that were wrong, "
        f"{measured.broken} the other way round"
    )


def _latest(output_dir: Path, nights: list[Night]) -> Night | None:
    """The latest of some nights whose manifest is there still."""
    manifests = output_dir / "manifests"
    there = [n for n in nights if n.manifest and (manifests / n.manifest).exists()]
    return there[-1] if there else None


def _drift(results: Results, date: datetime.date, earlier: list[Night]) -> tuple[float | None, str]:
    """The looks of the photos that last week's manifest does not have, and that week's date.

    In the first week, the oldest night stands for it.
    """
    week_ago = (date - datetime.timedelta(days=DRIFT_DAYS)).isoformat()
    reference = _latest(results.output_dir, [n for n in earlier if n.date <= week_ago])
    reference = reference or next((n for n in earlier if _latest(results.output_dir, [n])), None)
    if reference is None:
        return None, ""
    known = manifest.read(results.output_dir / "manifests" / reference.manifest)
    digests, labels = set(known["digest"]), tuple(known["label"].unique())

    def photos(old: bool, labels: tuple[str, ...]) -> Iterator[Bottlenecks]:
        for part in split.SPLITS:
            for batch in SplitReader(results.classes, part).batches():
                is_old = np.array([digest in digests for digest in batch.digests], bool)
                yield batch.where(is_old == old).with_labels(labels)

    new = reader.sample_by_digest(photos(False, labels), drift.MOST_NEW)
    old = new and reader.sample_by_digest(photos(True, tuple(set(new.labels))), drift.MOST_OLD)
    return (drift.p_value(new, old) if new and old else None), reference.date


def _seconds(results: Results, earlier: list[Night]) -> dict[str, float]:
    """Time by stage that tonight's results took, since the last night in the history."""
    since = earlier[-1].finished if earlier else "0001-01-01T00:00:00+00:00"
    begin = datetime.datetime.fromisoformat(since)
    targets = {
        f"manifests/{results.manifest.name}",
        f"heads/{results.head.name}",
        f"evaluations/{results.evaluation.name}",
        f"models/{results.model.name}",
        str(results.classes[0].parent.relative_to(results.output_dir)),
    }
    took: dict[str, float] = {}
    for timed in timings.read(results.output_dir):
        ours = timed.target in targets or timed.target.startswith("modules/")
        if ours and datetime.datetime.fromisoformat(timed.finished) >= begin:
            took[timed.step] = round(took.get(timed.step, 0) + timed.seconds, 2)
    return took
