"""Promotion and rollback: which model becomes current, and how the history records it.

    python -m pipeline.nightly.promotion --output-dir data/output
    python -m pipeline.nightly.promotion --output-dir data/output --promote 0123456789ab

The first command rolls back to the previously promoted model, the second one promotes a model, such
as one that the gate rejected.
"""

import argparse
import shlex
import sys
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import locks, output_store, places
from pipeline.nightly import current_model, history, shared_state
from pipeline.nightly.history import Promotion

NIGHTLY, MANUAL, ROLLBACK = "nightly", "by hand", "rollback"  # as stored in the history
ADVICE = "to promote it all the same: "  # the part of a rejected night's reason with the command


def is_current(output_dir: Path, model: Path) -> bool:
    """Return whether a model is the current one, on all machines that share the output store."""
    shared_state.pull(output_dir)
    return current_model.get(output_dir) == model.resolve()


def promote_manually(output_dir: Path, model: Path) -> None:
    """Make a model, which must be uploaded already, the current one, and record it."""
    with locks.exclusive(output_dir / locks.PROMOTION):
        shared_state.pull(output_dir)
        history.add(output_dir, promotion=promote(output_dir, model, MANUAL))
        shared_state.share_model(output_dir)
        shared_state.share_history(output_dir)


def promote_named(output_dir: Path, name: str) -> Path:
    """Make an exported model the current one, and record it.

    Args:
        output_dir: the output folder.
        name: name of the model, or the path of its folder.

    Returns:
        The model's folder.

    Raises:
        UserError: if there is no such model.
    """
    models = output_dir / "models"
    model = models / Path(name).name
    shared_state.fetch_models(output_dir, [model.name])
    if not (model / "saved_model").is_dir():
        where = output_store.open_store(output_dir).address(models)
        raise UserError(
            f"there is no model {name!r} in {where}; the command for the model of a rejected night "
            "is shown by: make history"
        )
    promote_manually(output_dir, model)
    return model


def command(output_dir: Path, model: Path) -> str:
    """Return the shell command that promotes a model by hand."""
    place = output_store.open_store(output_dir).url
    return f"make promote MODEL={model.name} OUTPUT_DIR={shlex.quote(place)}"


def promote(output_dir: Path, model: Path, how: str) -> Promotion | None:
    """Point `current` at a model, in one step.

    The caller holds `locks.PROMOTION` until it has recorded the result.

    Returns:
        What to record with `history.add`; None if `current` already points there and the history
        says so.
    """
    previous = current_model.get(output_dir)
    if previous != model.resolve():
        current_model.switch(model, output_dir)
    stack = _stack(history.promotions(output_dir))
    if stack and stack[-1] == model.name and previous == model.resolve():
        return None
    return Promotion(history.now(), model.name, how, previous.name if previous else "")


def recorded_model(output_dir: Path) -> Path | None:
    """Return the model that the history records as current.

    It differs from the one that `current` points at if a run was killed between the two.
    """
    names = _stack(history.promotions(output_dir))
    shared_state.fetch_models(output_dir, names[-1:])
    models = [output_dir / "models" / name for name in names]
    return next((model.resolve() for model in reversed(models) if model.is_dir()), None)


def was_rolled_back(output_dir: Path, model: Path) -> bool:
    """Return whether the last manual decision about a model was to roll it back."""
    rolled_back = False
    for move in history.promotions(output_dir):
        rolled_back |= move.how == ROLLBACK and move.instead_of == model.name
        rolled_back &= not (move.how == MANUAL and move.model == model.name)
    return rolled_back


def rollback(output_dir: Path) -> tuple[str, str]:
    """Point `current` at the previously promoted model; each further call goes one model back.

    Nightly runs do not promote the model that was rolled back again.

    Returns:
        The names of the model that was rolled back, and of the current one.

    Raises:
        UserError: if there is no earlier model.
    """
    with locks.exclusive(output_dir / locks.PROMOTION):
        shared_state.pull(output_dir)
        current = current_model.get(output_dir)
        stack = _stack(history.promotions(output_dir))
        names = [name for name in stack if current and name != current.name]
        shared_state.fetch_models(output_dir, names[-1:])
        earlier = [name for name in names if (output_dir / "models" / name).is_dir()]
        if current is None or not earlier:
            raise UserError(f"{output_dir} has no earlier model to roll back to")
        # Recorded first: if the command is killed in between, running it again completes it.
        move = Promotion(history.now(), earlier[-1], ROLLBACK, current.name)
        history.add(output_dir, promotion=move)
        shared_state.share_history(output_dir)
        current_model.switch(output_dir / "models" / earlier[-1], output_dir)
        shared_state.share_model(output_dir)
    return current.name, earlier[-1]


def _stack(moves: list[Promotion]) -> list[str]:
    """Return the promoted models that a rollback can go through, oldest first."""
    stack: list[str] = []
    for move in moves:
        if move.how == ROLLBACK and move.model in stack:
            del stack[stack.index(move.model) + 1 :]
        else:
            stack = [name for name in stack if name != move.model] + [move.model]
    return stack


def main() -> None:
    """Roll back to the previously promoted model, or promote the given one."""
    parser = argparse.ArgumentParser(description="Roll back to the previously promoted model.")
    parser.add_argument("--output-dir", default="data/output")
    parser.add_argument("--promote", metavar="MODEL", help="promote this model instead")
    options = parser.parse_args()
    from pipeline.nightly import history_page  # which imports this module

    try:
        output_dir = places.existing_output(output_store.local_folder(options.output_dir))
        if options.promote is not None:
            promoted = promote_named(output_dir, options.promote)
            history_page.write(output_dir)
            print(f"Model {promoted.name} is the current one now. To undo this: make rollback")
            return
        rolled_back, current = rollback(output_dir)
        history_page.write(output_dir)
    except UserError as error:
        sys.exit(str(error))
    print(f"Rolled back to model {current}. Nightly runs will not promote {rolled_back} again.")


if __name__ == "__main__":
    main()
