"""What changes in an output folder on an object store: which model is current, and the history.

    current.json      {"model": "<digest>"}, written when all of that model is there
    history.sqlite    the file, as `history.py` writes it

Before either is used, the mirror's `current`, `serving/` and history are made those of the store;
what a killed run changed in its mirror alone is as if it had not been. Whoever changes them shares
that. Of two machines that do so at a time, the later one wins: nights, promotions and rollbacks
belong to one machine at a time.

    python -m pipeline.current s3://bucket/out

does the same for a machine that only uses the model, and prints the mirror's folder.
"""

import json
import sys
from pathlib import Path

from pipeline import export, history, mirror, storage
from pipeline.errors import UserError

_CURRENT = "current.json"


def follow(output_dir: Path) -> None:
    """Let the mirror's history, `current` and `serving/` be those of the store.

    Of an output folder on this machine, nothing.

    Raises:
        UserError: where the store does not answer.
    """
    store = mirror.of(output_dir)
    if store is None:
        return
    known = output_dir / history.FILE
    content = store.read(known)
    if content is None:
        known.unlink(missing_ok=True)
    elif not known.exists() or known.read_bytes() != content:
        with storage.publish(known) as temporary:
            temporary.write_bytes(content)
    told = store.read(output_dir / _CURRENT)
    link, model = output_dir / "current", output_dir / "models" / _name(told)
    if told:
        store.fetch([model])
    if not told or not model.is_dir():
        link.unlink(missing_ok=True)
    elif link.resolve() != model.resolve():
        export.release(model, output_dir)


def share_model(output_dir: Path) -> None:
    """Let the store's current model be the mirror's, which the store has."""
    store, link = mirror.of(output_dir), output_dir / "current"
    if store and link.is_dir():
        content = json.dumps({"model": link.resolve().name}) + "\n"
        store.write(output_dir / _CURRENT, content.encode())


def share_history(output_dir: Path) -> None:
    """Let the store's history be the mirror's."""
    store = mirror.of(output_dir)
    if store:
        store.write(output_dir / history.FILE, (output_dir / history.FILE).read_bytes())


def _name(told: bytes | None) -> str:
    return Path(json.loads(told)["model"]).name if told else ""


def main() -> None:
    """Print the folder of this machine in which an output folder's `current` is."""
    try:
        output_dir = mirror.folder(sys.argv[1])
        follow(output_dir)
    except UserError as error:
        sys.exit(str(error))
    print(output_dir)


if __name__ == "__main__":
    main()
