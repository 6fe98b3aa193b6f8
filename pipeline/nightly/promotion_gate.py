"""The gate: whether a model may replace the current one."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bottlenecks.reader import BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.evaluation import model_photos
from pipeline.evaluation.comparison import Comparison
from pipeline.files.places import Place
from pipeline.head import softmax_head
from pipeline.nightly import class_changes, contest
from pipeline.nightly.class_changes import ClassChange
from pipeline.nightly.contest import Contestant

MAX_NAMED = 5  # classes, or changes of classes, that a reason names


@dataclass(frozen=True)
class Gate:
    """The requirements for a model.

    Attributes:
        least_accuracy: minimum top-1 accuracy on the test photos, from 0 to 1.
        tolerance: how far its accuracy may be below the current model's, from 0 to 1.
    """

    least_accuracy: float
    tolerance: float

    def __post_init__(self) -> None:
        for option, share in (
            ("assert_accuracy_at_least", self.least_accuracy),
            ("tolerance", self.tolerance),
        ):
            if not 0 <= share <= 1:  # NaN is not, either; it would accept everything
                raise UserError(
                    f"{option} is out of range; assert_accuracy_at_least must be from 0 to 1, "
                    "tolerance from 0 to 100 points"
                )


@dataclass(frozen=True)
class Verdict:
    """The decision of the gate.

    Attributes:
        reasons: why the model is rejected; empty if it may be promoted.
        notes: what people should know in either case, such as the result of the comparison.
        comparison: comparison with the current model on the same photos, if that was possible.
    """

    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    comparison: Comparison | None


def evaluate(
    model: Path,
    current: Path | None,
    test: BottleneckSource,
    image_dir: Place,
    recipe: Recipe,
    gate: Gate,
    given_labels: Mapping[str, str] | None = None,
    withdrawn: Mapping[str, str] | None = None,
) -> Verdict:
    """Decide whether a model may replace the current one.

    Args:
        model: folder of the model.
        current: folder of the current model; None if there is none.
        test: today's test split, with vectors of `recipe`.
        image_dir: folder that the photos' paths are relative to.
        recipe: recipe of the vectors.
        gate: the requirements.
        given_labels: labels by digest that people have corrected. They count as the earlier labels,
            too: changing them was intended.
        withdrawn: today's labels by digest of photos whose corrections were withdrawn. They do not
            count as changes of classes.
    """
    reasons, notes = list(_check_accuracy(model, gate)), list[str]()
    if current is None:
        return Verdict(tuple(reasons), ("the first model, with none to compare it with",), None)
    before, after = (
        Contestant(folder, softmax_head.read(folder).labels, model_photos.read(folder))
        for folder in (current, model)
    )
    before = replace(before, photos=before.photos.with_labels(given_labels or {}))
    comparable = before.photos.with_labels(withdrawn or {})
    changes = class_changes.find(comparable.rows, after.photos.rows)
    lost = set(before.labels) - set(after.labels)
    concerned = [change for change in changes if lost & set(change.labels)]
    reasons += _describe(concerned)
    missing = sorted(lost - {label for change in concerned for label in change.labels})
    if missing:
        reasons.append(f"classes of the current model are missing: {_some(missing)}")
    notes += _describe([change for change in changes if change not in concerned])
    # Only if a person decides anyway: a mapping would hide that two folders were swapped.
    names = _new_names(changes) if concerned else {}
    outcome = contest.hold(before, after, names, test, image_dir, recipe, gate.tolerance)
    reasons += outcome.reasons
    notes += outcome.notes
    return Verdict(tuple(reasons), tuple(notes), outcome.comparison)


def _check_accuracy(model: Path, gate: Gate) -> Iterator[str]:
    """Yield reasons for rejecting a model that do not depend on another one."""
    evaluation = json.loads((model / "evaluation.json").read_text(encoding="utf-8"))
    if not evaluation["count"]:
        yield (
            "there are no test photos of the model's classes; add photos or raise "
            "testing_percentage"
        )
    elif evaluation["top1"] < gate.least_accuracy:
        yield (
            f"accuracy {evaluation['top1']:.1%} is below assert_accuracy_at_least, "
            f"{gate.least_accuracy:.1%}"
        )


def _describe(changes: list[ClassChange]) -> Iterator[str]:
    yield from map(str, changes[:MAX_NAMED])
    if len(changes) > MAX_NAMED:
        yield f"{len(changes) - MAX_NAMED} more classes were renamed, merged or split"


def _new_names(changes: list[ClassChange]) -> dict[str, str]:
    """Return the present names of classes that were renamed or merged."""
    whole = [change for change in changes if len(change.into) == 1]
    return {label: change.into[0] for change in whole for label in change.labels}


def _some(labels: list[str]) -> str:
    more = f" and {len(labels) - MAX_NAMED} more" if len(labels) > MAX_NAMED else ""
    return ", ".join(labels[:MAX_NAMED]) + more
