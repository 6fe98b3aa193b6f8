"""Which model is `current`: the gate that a night's model has to pass, promotion and rollback.

    python -m pipeline.nightly.promotion --output-dir data/output

goes back to the model that was promoted before.
"""

import argparse
import sys
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import locks, output_store
from pipeline.nightly import current_model, history, shared_state
from pipeline.nightly.history import Promotion

NIGHTLY, MANUAL, ROLLBACK = "nightly", "by hand", "rollback"


def promote(output_dir: Path, model: Path, how: str) -> Promotion | None:
    """Let `current` lead to a model, in one step, and say what is to be written down of it.

    To be called, until that is done, by whoever holds `lock.PROMOTION`.

    Returns:
        For `history.add`; None where `current` leads there already, and the history says so.
    """
    before = current_model.get(output_dir)
    if before != model.resolve():
        current_model.switch(model, output_dir)
    stack = _stack(history.promotions(output_dir))
    if stack and stack[-1] == model.name and before == model.resolve():
        return None
    return Promotion(history.now(), model.name, how, before.name if before else "")


def recorded_model(output_dir: Path) -> Path | None:
    """The model that the history names as current: another one than `current` leads to where a
    run was killed between moving it and writing that down.
    """
    names = _stack(history.promotions(output_dir))
    shared_state.fetch_models(output_dir, names[-1:])
    there = [output_dir / "models" / name for name in names]
    return next((model.resolve() for model in reversed(there) if model.is_dir()), None)


def was_rolled_back(output_dir: Path, model: Path) -> bool:
    """Whether a person went back from a model, and nobody promoted it by hand since."""
    back = False
    for move in history.promotions(output_dir):
        back |= move.how == ROLLBACK and move.instead_of == model.name
        back &= not (move.how == MANUAL and move.model == model.name)
    return back


def rollback(output_dir: Path) -> tuple[str, str]:
    """Let `current` lead to the model that was promoted before it.

    The nightly run does not promote the one that was left again, but other ones. Called again, it
    goes back further.

    Returns:
        Names of the model that was left, and of the one that is current now.

    Raises:
        UserError: where there is no earlier model.
    """
    with locks.exclusive(output_dir / locks.PROMOTION):
        shared_state.pull(output_dir)
        now = current_model.get(output_dir)
        stack = _stack(history.promotions(output_dir))
        names = [name for name in stack if now and name != now.name]
        shared_state.fetch_models(output_dir, names[-1:])
        there = [name for name in names if (output_dir / "models" / name).is_dir()]
        if now is None or not there:
            raise UserError(f"{output_dir} has no earlier model to go back to")
        # Written down first: killed in between, the same command ends what it began.
        history.add(output_dir, promotion=Promotion(history.now(), there[-1], ROLLBACK, now.name))
        shared_state.share_history(output_dir)
        current_model.switch(output_dir / "models" / there[-1], output_dir)
        shared_state.share_model(output_dir)
    return now.name, there[-1]


def _stack(moves: list[Promotion]) -> list[str]:
    """The promoted models that a rollback can go through, the last one last."""
    stack: list[str] = []
    for move in moves:
        if move.how == ROLLBACK and move.model in stack:
            del stack[stack.index(move.model) + 1 :]
        else:
            stack = [name for name in stack if name != move.model] + [move.model]
    return stack


def main() -> None:
    """Go back to the model before."""
    parser = argparse.ArgumentParser(description="Go back to the model that was promoted before.")
    parser.add_argument("--output-dir", default="data/output")
    try:
        left, now = rollback(output_store.folder(parser.parse_args().output_dir))
    except UserError as error:
        sys.exit(str(error))
    print(f"current leads to model {now} again; {left} will not be promoted by the nightly run")


if __name__ == "__main__":
    main()
