"""The part of a remote output store that changes: the current model and the history.

    current.json      {"model": "<digest>"}, written once that model is complete
    history.sqlite    the file that `history.py` writes

`pull` makes the local `current`, `serving/` and history those of the output store before they are
used, and thereby undoes what a killed run changed only locally. Whoever changes them shares the
change. If two machines do so at the same time, the later one wins: nights, promotions and rollbacks
belong on one machine at a time. With a local output folder, none of this does anything.
"""

import json
from pathlib import Path

from pipeline.files import atomic, output_store, places
from pipeline.files.output_store import RemoteOutputStore
from pipeline.nightly import current_model, history

_CURRENT = "current.json"


def pull(output_dir: Path) -> None:
    """Make the local history, `current` and `serving/` those of the output store.

    Raises:
        OutageError: if the object store does not answer.
    """
    store = output_store.open_store(output_dir)
    if not isinstance(store, RemoteOutputStore):
        return
    database = output_dir / history.FILE
    content = store.read(database)
    if content is None:
        database.unlink(missing_ok=True)
    elif not database.exists() or database.read_bytes() != content:
        with atomic.write(database) as temporary:
            temporary.write_bytes(content)
    shared = json.loads(store.read(output_dir / _CURRENT) or b"{}")
    link, name = output_dir / "current", Path(shared.get("model", "")).name
    model = output_dir / "models" / name
    if name:
        store.fetch([model])
    if not name or not model.is_dir():
        link.unlink(missing_ok=True)
    elif link.resolve() != model.resolve():
        current_model.switch(model, output_dir)


def current_link(output_dir: Path) -> Path:
    """Return the link to the current model, which does not exist before the first promotion."""
    pull(output_dir)
    return output_dir / "current"


def resolve_model(model: str) -> Path:
    """Return the local folder of an exported model, downloading it if need be.

    Args:
        model: a path such as data/output/current, or a URL such as s3://bucket/out/current or
            s3://bucket/out/models/<digest>.

    Raises:
        OutageError: if the object store does not answer.
        UserError: if the output folder of a `current` does not exist.
    """
    parent, _, name = model.rstrip("/").rpartition("/")
    parent = parent.removesuffix("/models") if "://" in model else parent
    output_dir = output_store.local_folder(parent)
    store = output_store.open_store(output_dir)
    if not store.is_remote:
        if name == "current":
            places.existing_output(output_dir)
        return output_store.local_folder(model)
    if name == "current":
        pull(output_dir)
        return output_dir / name
    store.fetch([output_dir / "models" / name])
    return output_dir / "models" / name


def fetch_models(output_dir: Path, names: list[str]) -> None:
    """Download models that the output store has and this machine lacks."""
    output_store.open_store(output_dir).fetch(output_dir / "models" / name for name in names)


def share_model(output_dir: Path) -> None:
    """Make the local current model, which must be uploaded already, the shared one."""
    store, link = output_store.open_store(output_dir), output_dir / "current"
    if isinstance(store, RemoteOutputStore) and link.is_dir():
        content = json.dumps({"model": link.resolve().name}) + "\n"
        store.write(output_dir / _CURRENT, content.encode())


def share_history(output_dir: Path) -> None:
    """Make the local history the shared one."""
    store = output_store.open_store(output_dir)
    if isinstance(store, RemoteOutputStore):
        store.write(output_dir / history.FILE, (output_dir / history.FILE).read_bytes())
