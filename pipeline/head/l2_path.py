"""Softmax regression trained to its optimum, for one L2 strength after the other.

The loss is convex, so there is one best solution for each strength, and L-BFGS finds it. The
strengths are tried from the strongest to the weakest, each from where the last one ended and only
roughly; the validation photos decide between them, and the chosen one is trained to the end. Then
the validation photos have done their work, and are trained on as well.

Where there are so many photos that they are read again at each pass, a sample that is kept decides
on the strength: it takes many passes to find, and hardly matters with so many. It also says, after
each pass over all of them, where their optimum should be ("Communication-efficient distributed
optimization using an approximate Newton-type method", Shamir, Srebro and Zhang, 2014): a few passes
do, where L-BFGS alone takes a hundred.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from pipeline.head import lbfgs, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import Examples
from pipeline.head.lbfgs import Function
from pipeline.head.settings import Settings
from pipeline.head.tensorboard import TRAINING, TensorBoardWriter
from pipeline.head.trial import OptimizationResult, Trial
from pipeline.progress import Progress

STRENGTHS = (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
DEFAULT_L2 = 0.01  # where no validation photo can decide; in the middle of what gets chosen
_PATIENCE = 3  # strengths that may do worse than the best one before the path is left
_MOST_ITERATIONS = 1000
# How far the loss may be above its optimum, as a share of it: while strengths are compared, and
# in the end. Trained to the end, the order of the strengths was the same, at twice the passes.
_ROUGH, _FINE = 1e-2, 1e-4
_ENOUGH = 0.05  # of the gradient, where the sample is asked for the way to the minimum


@dataclass(frozen=True)
class _Run:
    """How far a training is.

    Attributes:
        trials: that are done.
        best, last: solutions of the best of them and of the last.
        fine: whether the last one was the chosen strength, to the end.
        state: of what is going on; None before its first iteration.
        iterations: that this has had.
    """

    trials: tuple[Trial, ...]
    best: np.ndarray
    last: np.ndarray
    fine: bool = False
    state: lbfgs.State | None = None
    iterations: int = 0


def train(
    training: Examples,
    validation: Examples,
    settings: Settings,
    progress: Progress,
    snapshots: Checkpoints,
    summaries: TensorBoardWriter,
) -> OptimizationResult:
    """Train until the best strength is known, then with this one to the end.

    Args:
        training, validation: the two splits.
        settings: of the head; a strength that is given is the only one.
        progress: told of the strengths tried.
        snapshots: where the run is kept while it goes on.
        summaries: get the loss of each iteration, and the figures of each strength.
    """
    given = settings.l2 or (0 if len(validation) else DEFAULT_L2)
    strengths = () if given else STRENGTHS
    zeros = np.zeros((len(training.scaling.mean) + 1, len(training.labels)), np.float32)
    run = _load(snapshots) or _Run((), zeros, zeros)
    sample = training.sample()

    def objective(photos: Examples, l2: float) -> Function:
        weights = settings.photo_weights(photos)
        return softmax.objective(photos, weights, l2, settings.label_smoothing)

    def optimum(
        run: _Run, photos: Examples, l2: float, tolerance: float, start: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """The solution whose loss is that near to the optimum, and the iterations that it took."""
        function = objective(photos, l2)
        model = None if photos.kept is not None else objective(sample, l2)
        state = run.state or lbfgs.start(function, start)
        number, before = run.iterations, _iterations(run.trials)
        while number < _MOST_ITERATIONS and not _near(state, l2, tolerance):
            guess = partial(_dane_direction, model, state.point) if model else None
            advanced = lbfgs.step(function, state, guess)
            if advanced is None:
                break
            state, number = advanced, number + 1
            summaries.figures(TRAINING, before + number, loss=state.loss)
            if snapshots.due(before + number):
                _save(replace(run, state=state, iterations=number), snapshots)
        return state.point, number

    def after_trial(run: _Run, l2: float, fine: bool) -> _Run:
        start, tolerance = (run.best, _FINE) if fine else (run.last, _ROUGH)
        photos = training if fine else sample
        solution, number = optimum(run, photos, l2, tolerance, start)
        trial = Trial.of(l2, number, solution, softmax.measure(photos, solution), validation)
        trials = (*run.trials, trial)
        trial.tell(summaries, _iterations(trials), solution)
        best = solution if min(trials, key=Trial.badness) is trial else run.best
        return _Run(trials, best, solution, fine)

    total = len(strengths) + 2
    while not run.fine and len(run.trials) < len(strengths) and not _past_the_best(run.trials):
        l2 = strengths[len(run.trials)]
        progress(len(run.trials), total, f"head with L2 strength {l2:g}")
        run = after_trial(run, l2, fine=False)
    if not run.fine:
        l2 = given or min(run.trials, key=Trial.badness).l2
        progress(total - 2, total, f"head with L2 strength {l2:g}, to the end")
        run = after_trial(run, l2, fine=True)
    *rough, kept = run.trials
    final = run.last
    if len(validation):
        progress(total - 1, total, f"head with L2 strength {kept.l2:g}, on validation photos too")
        final, _ = optimum(run, training.joined(validation), kept.l2, _FINE, run.last)
    trials = tuple(kept if trial.l2 == kept.l2 else trial for trial in rough) or (kept,)
    return OptimizationResult(run.last, final, trials, kept.l2)


def _iterations(trials: tuple[Trial, ...]) -> int:
    return sum(trial.iterations for trial in trials)


def _past_the_best(trials: tuple[Trial, ...]) -> bool:
    return bool(trials) and len(trials) - trials.index(min(trials, key=Trial.badness)) > _PATIENCE


def _near(state: lbfgs.State, l2: float, tolerance: float) -> bool:
    """Whether the loss is near its optimum: it is strongly convex, so |g|^2 / 2 l2 bounds that."""
    squared = float(np.vdot(state.gradient, state.gradient))
    return squared <= 2 * l2 * tolerance * state.loss


def _dane_direction(model: Function, point: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """A gradient times the inverse Hessian at a point, as some of the photos know it.

    Their loss is tilted until its gradient at the point is the given one. The way to its minimum is
    what is asked for, and better than that where the loss is no parabola.
    """
    loss, own = model(point)
    tilt = gradient - own

    def tilted(at: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = model(at)
        return loss + float(np.vdot(tilt, at - point)), slope + tilt

    near = lbfgs.State(point, loss, gradient)
    enough = _ENOUGH * float(np.linalg.norm(gradient))
    for _ in range(_MOST_ITERATIONS):
        if np.linalg.norm(near.gradient) <= enough:
            break
        further = lbfgs.step(tilted, near)
        if further is None:
            break
        near = further
    way: np.ndarray = point - near.point
    return way


def _save(run: _Run, snapshots: Checkpoints) -> None:
    state = run.state
    assert state is not None
    facts = {
        "trials": [asdict(trial) for trial in run.trials],
        "fine": run.fine,
        "iterations": run.iterations,
        "loss": state.loss,
    }
    arrays = {"best": run.best, "last": run.last, "point": state.point, "gradient": state.gradient}
    if state.changes:
        arrays |= {"changes": np.stack(state.changes), "turns": np.stack(state.turns)}
    snapshots.save(facts, arrays)


def _load(snapshots: Checkpoints) -> _Run | None:
    saved = snapshots.load()
    if saved is None:
        return None
    facts, arrays = saved
    pairs = tuple(arrays.get("changes", ())), tuple(arrays.get("turns", ()))
    state = lbfgs.State(arrays["point"], facts["loss"], arrays["gradient"], *pairs)
    trials = tuple(Trial(**trial) for trial in facts["trials"])
    return _Run(trials, arrays["best"], arrays["last"], facts["fine"], state, facts["iterations"])
