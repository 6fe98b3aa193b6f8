"""The regularization path: softmax regression trained to its optimum for several L2 strengths.

The loss is convex, so there is one best solution per strength, and L-BFGS finds it. Strengths are
tried from the strongest to the weakest, each starting at the previous solution and with a coarse
tolerance. The validation photos decide between them, and the best one is trained to a fine
tolerance. Finally, the validation photos are trained on as well.

If there are so many photos that every pass reads them again, a cached sample decides on the
strength: finding it takes many passes, and it hardly matters with that many photos. The sample also
provides the search direction (see `dane`), with which a few passes over all photos suffice.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from pipeline.head import dane, lbfgs, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import Examples
from pipeline.head.lbfgs import Function
from pipeline.head.settings import Settings
from pipeline.head.tensorboard import TRAINING, TensorBoardWriter
from pipeline.head.trial import OptimizationResult, Trial
from pipeline.progress import Progress

STRENGTHS = (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
DEFAULT_L2 = 0.01  # without validation photos; typical of the strengths that are chosen
_PATIENCE = 3  # strengths in a row that may be worse than the best one
_MAX_ITERATIONS = 1000
# Relative distance of the loss from its optimum, while strengths are compared and at the end. A
# fine tolerance throughout gave the same order of strengths, and took twice the passes.
_COARSE, _FINE = 1e-2, 1e-4


@dataclass(frozen=True)
class _Run:
    """The progress of a training.

    Attributes:
        trials: completed trials.
        best, last: solutions of the best and of the last trial.
        fine: whether the last trial was the chosen strength with the fine tolerance.
        state: state of the current minimization; None before its first iteration.
        iterations: iterations of the current minimization.
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
    checkpoints: Checkpoints,
    summaries: TensorBoardWriter,
    center: np.ndarray | None = None,
) -> OptimizationResult:
    """Find the best strength, then train with this one to the fine tolerance.

    Args:
        training, validation: the two splits.
        settings: settings of the head; a non-zero `l2` is the only strength.
        progress: counts the strengths tried.
        checkpoints: where the state is saved.
        summaries: receives the loss of each iteration and the metrics of each strength.
        center: the solution to start from, which the L2 penalty pulls towards; by default 0.
    """
    fixed = settings.l2 or (0 if len(validation) else DEFAULT_L2)
    strengths = () if fixed else STRENGTHS
    start = training.zeros() if center is None else center
    run = _load(checkpoints) or _Run((), start, start)
    sample = training.sample()

    def objective(photos: Examples, l2: float) -> Function:
        weights = settings.photo_weights(photos)
        return softmax.objective(photos, weights, l2, settings.label_smoothing, center)

    def optimum(
        run: _Run, photos: Examples, l2: float, tolerance: float, start: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Return a solution within the tolerance, and the number of iterations."""
        function = objective(photos, l2)
        sample_loss = None if photos.cached is not None else objective(sample, l2)
        state = run.state or lbfgs.start(function, start)
        number, before = run.iterations, _iterations(run.trials)
        while number < _MAX_ITERATIONS and not _near(state, l2, tolerance):
            inverse_hessian = sample_loss and partial(
                dane.inverse_hessian_product, sample_loss, state.point
            )
            following = lbfgs.step(function, state, inverse_hessian)
            if following is None:
                break
            state, number = following, number + 1
            summaries.metrics(TRAINING, before + number, loss=state.loss)
            if checkpoints.due(before + number):
                _save(replace(run, state=state, iterations=number), checkpoints)
        return state.point, number

    def after_trial(run: _Run, l2: float, fine: bool) -> _Run:
        start, tolerance = (run.best, _FINE) if fine else (run.last, _COARSE)
        photos = training if fine else sample
        solution, number = optimum(run, photos, l2, tolerance, start)
        trial = Trial.of(l2, number, solution, softmax.measure(photos, solution), validation)
        trials = (*run.trials, trial)
        trial.log(summaries, _iterations(trials), solution)
        best = solution if min(trials, key=Trial.objective) is trial else run.best
        return _Run(trials, best, solution, fine)

    total = len(strengths) + 2
    while not run.fine and len(run.trials) < len(strengths) and not _past_the_best(run.trials):
        l2 = strengths[len(run.trials)]
        progress(len(run.trials), total, f"head with L2 strength {l2:g}")
        run = after_trial(run, l2, fine=False)
    if not run.fine:
        l2 = fixed or min(run.trials, key=Trial.objective).l2
        progress(total - 2, total, f"head with L2 strength {l2:g}, final")
        run = after_trial(run, l2, fine=True)
    *coarse, kept = run.trials
    final = run.last
    if len(validation):
        progress(
            total - 1, total, f"head with L2 strength {kept.l2:g}, including validation photos"
        )
        final, _ = optimum(run, training.concat(validation), kept.l2, _FINE, run.last)
    trials = tuple(kept if trial.l2 == kept.l2 else trial for trial in coarse) or (kept,)
    return OptimizationResult(measured=run.last, final=final, trials=trials, l2=kept.l2)


def _iterations(trials: tuple[Trial, ...]) -> int:
    return sum(trial.iterations for trial in trials)


def _past_the_best(trials: tuple[Trial, ...]) -> bool:
    return bool(trials) and len(trials) - trials.index(min(trials, key=Trial.objective)) > _PATIENCE


def _near(state: lbfgs.State, l2: float, tolerance: float) -> bool:
    """Return whether the loss is near its optimum: |g|^2 / 2 l2 bounds it by strong convexity."""
    squared = float(np.vdot(state.gradient, state.gradient))
    return squared <= 2 * l2 * tolerance * state.loss


def _save(run: _Run, checkpoints: Checkpoints) -> None:
    state = run.state
    assert state is not None
    facts = {
        "trials": [asdict(trial) for trial in run.trials],
        "fine": run.fine,
        "iterations": run.iterations,
        "loss": state.loss,
    }
    arrays = {"best": run.best, "last": run.last, "point": state.point, "gradient": state.gradient}
    if state.s_history:
        arrays |= {"changes": np.stack(state.s_history), "turns": np.stack(state.y_history)}
    checkpoints.save(facts, arrays)


def _load(checkpoints: Checkpoints) -> _Run | None:
    saved = checkpoints.load()
    if saved is None:
        return None
    facts, arrays = saved
    pairs = tuple(arrays.get("changes", ())), tuple(arrays.get("turns", ()))
    state = lbfgs.State(arrays["point"], facts["loss"], arrays["gradient"], *pairs)
    trials = tuple(Trial(**trial) for trial in facts["trials"])
    return _Run(trials, arrays["best"], arrays["last"], facts["fine"], state, facts["iterations"])
