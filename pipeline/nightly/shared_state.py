"""What changes in an output folder on an object store: which model is current, and the history.

    current.json      {"model": "<digest>"}, written when all of that model is there
    history.sqlite    the file, as `history.py` writes it

Before either is used, the mirror's `current`, `serving/` and history are made those of the store;
what a killed run changed in its mirror alone is as if it had not been. Whoever changes them shares
that. Of two machines that do so at a time, the later one wins: nights, promotions and rollbacks
belong to one machine at a time.
"""

import json
from pathlib import Path

from pipeline.files import atomic, output_store
from pipeline.nightly import current_model, history

_CURRENT = "current.json"


def pull(output_dir: Path) -> None:
    """Let the mirror's history, `current` and `serving/` be those of the store.

    Of an output folder on this machine, nothing.

    Raises:
        UserError: where the store does not answer.
    """
    store = output_store.of(output_dir)
    if store is None:
        return
    known = output_dir / history.FILE
    content = store.read(known)
    if content is None:
        known.unlink(missing_ok=True)
    elif not known.exists() or known.read_bytes() != content:
        with atomic.write(known) as temporary:
            temporary.write_bytes(content)
    told = store.read(output_dir / _CURRENT)
    link, model = output_dir / "current", output_dir / "models" / _name(told)
    if told:
        store.fetch([model])
    if not told or not model.is_dir():
        link.unlink(missing_ok=True)
    elif link.resolve() != model.resolve():
        current_model.switch(model, output_dir)


def resolve_model(model: str) -> Path:
    """The folder of an exported model: that of a path, or of a URL, from which it is fetched.

    Args:
        model: such as data/output/current, or s3://bucket/out/current or .../out/models/<digest>.

    Raises:
        UserError: where the store does not answer.
    """
    above, _, name = model.rstrip("/").rpartition("/")
    above = above.removesuffix("/models") if "://" in model else above
    output_dir = output_store.folder(above)
    store = output_store.of(output_dir)
    if store is None:
        return output_store.folder(model)
    if name == "current":
        pull(output_dir)
        return output_dir / name
    store.fetch([output_dir / "models" / name])
    return output_dir / "models" / name


def fetch_models(output_dir: Path, names: list[str]) -> None:
    """Bring models from the store, if there is one and it has them."""
    store = output_store.of(output_dir)
    if store:
        store.fetch(output_dir / "models" / name for name in names)


def share_model(output_dir: Path) -> None:
    """Let the store's current model be the mirror's, which the store has."""
    store, link = output_store.of(output_dir), output_dir / "current"
    if store and link.is_dir():
        content = json.dumps({"model": link.resolve().name}) + "\n"
        store.write(output_dir / _CURRENT, content.encode())


def share_history(output_dir: Path) -> None:
    """Let the store's history be the mirror's."""
    store = output_store.of(output_dir)
    if store:
        store.write(output_dir / history.FILE, (output_dir / history.FILE).read_bytes())


def _name(told: bytes | None) -> str:
    return Path(json.loads(told)["model"]).name if told else ""
