"""Places of files: a path on this machine, or a URL on an object store."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.files import object_store
from pipeline.files.object_store import RemotePath

Place = Path | RemotePath  # of a photo, or of a folder of them; `/` leads from one to the other


def parse(text: str) -> Place:
    """The place that an option names: a path, or a URL; `file://` is a path as well.

    Raises:
        UserError: where a password is in it.
    """
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    return object_store.parse(text) if "://" in text else Path(text).expanduser()


def absolute(place: Place) -> str:
    """The same text for the same place, wherever it is asked for."""
    return str(place.absolute()) if isinstance(place, Path) else str(place)
