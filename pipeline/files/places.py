"""Places of files: local paths, or URLs on an object store."""

import unicodedata
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline.errors import UserError
from pipeline.files import object_store
from pipeline.files.object_store import RemotePath

Place = Path | RemotePath  # of a folder or a file; `/` joins them


def parse(text: str) -> Place:
    """Parse a path or URL; `file://` URLs become paths.

    Raises:
        UserError: if the URL contains a password.
    """
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    return object_store.parse(text) if "://" in text else local(text)


def local(text: str) -> Path:
    """Return a local path, with `~` expanded, and accents composed or decomposed as on the disk.

    The same text then names the same folder on Linux and macOS, or after a copy between them.
    """
    path = Path(text).expanduser()
    if text.isascii():
        return path
    found = Path()
    with suppress(OSError):  # a folder that may not be searched, or too long a name
        for part in path.parts:
            forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
            found = next((found / form for form in forms if (found / form).exists()), found / part)
        return found
    return path


def absolute(place: Place) -> str:
    """Return a text that identifies the place, independent of the working directory."""
    return str(place.absolute()) if isinstance(place, Path) else str(place)


def existing_output(output_dir: Path) -> Path:
    """Return the local folder of an output folder if it exists.

    Raises:
        UserError: if it does not: commands that only read must not create a mistyped folder.
    """
    if not output_dir.is_dir():
        raise UserError(
            f"output_dir: there is no folder {output_dir.absolute()}; pass the OUTPUT_DIR of your "
            "runs, or train first with: make train"
        )
    return output_dir


def is_inside(place: Place, folder: Place) -> bool:
    """Return whether a place is a folder or inside it, whatever links lead there."""
    if isinstance(place, Path) and isinstance(folder, Path):
        return place.resolve().is_relative_to(folder.resolve())
    return f"{place}/".startswith(f"{folder}/")
