"""Archives: unpacked with nothing in them that could reach beyond their folder."""

import tarfile
import zlib
from lzma import LZMAError
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.progress import Progress, silent

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")

_MB = 2**20


def unpack(file: Path, directory: Path, progress: Progress = silent) -> None:
    """Unpack a tar archive, compressed or not.

    Where the archive holds one folder and nothing else, that folder's content is taken.

    Args:
        file: the archive.
        directory: does not exist yet. Half-filled after an error: give a temporary one.
        progress: counts MB of the archive.

    Raises:
        UserError: where it is none, is damaged, or holds links, devices or paths that leave the
            folder.
    """
    try:
        _extract(file, directory, progress)
        _unwrap(directory)
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, ValueError) as error:
        raise UserError(f"{file} cannot be unpacked: {_reason(file, error)}") from None
    except OSError as error:  # gzip's complaints have no error number
        reason = error.strerror or _reason(file, error)
        raise UserError(f"{file} cannot be unpacked: {reason}") from None


def _extract(file: Path, directory: Path, progress: Progress) -> None:
    directory.mkdir(parents=True)
    total = file.stat().st_size // _MB
    with file.open("rb") as content, tarfile.open(fileobj=content) as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise UserError(
                    f"{file} holds {member.name!r}, a link or device; models and photos need none, "
                    "so it may be made to do harm"
                )
            tar.extract(member, directory, filter="data")
            progress(content.tell() // _MB, total, "MB unpacked")
        while tar.fileobj and tar.fileobj.read(_MB):
            pass  # the checksum stands behind the padding that no member needs


def _unwrap(directory: Path) -> None:
    """Take the content of the one folder that holds all."""
    entries = [e for e in directory.iterdir() if not e.name.startswith("._")]  # macOS adds these
    if len(entries) == 1 and entries[0].is_dir():
        inner = entries[0].rename(atomic.temporary(entries[0]))  # a name that is not in it
        for entry in inner.iterdir():
            entry.rename(directory / entry.name)
        inner.rmdir()


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, tarfile.FilterError):
        return f"{error.tarinfo.name!r} would leave its folder; it may be made to do harm"
    with file.open("rb") as content:
        start = content.read(512).lstrip()
    if start.startswith(b"<"):
        return "it is a web page, not an archive; check the address in a browser"
    if start.startswith(b"PK"):
        return "it is a zip file; unpack it by hand"
    if start.startswith(b"\x1f\x8b") or isinstance(error, EOFError):
        return "it is damaged or breaks off; fetch it again"
    return "it is no .tar or .tar.gz archive"
