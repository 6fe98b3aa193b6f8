"""Archives: unpacked safely, so that nothing is written outside the target folder."""

import tarfile
import zlib
from lzma import LZMAError
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.progress import Progress, silent

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")

_MB = 2**20


def unpack(file: Path, directory: Path, progress: Progress = silent, name: str = "") -> None:
    """Unpack a tar archive, compressed or not.

    If the archive contains a single folder, that folder's content is unpacked.

    Args:
        file: the archive.
        directory: must not exist. It is incomplete after an error: pass a temporary folder.
        progress: counts MB of the archive.
        name: what error messages call the file; default: its path.

    Raises:
        UserError: if the file is not an archive, is damaged, or contains links, devices or paths
            outside the folder.
    """
    try:
        _extract(file, directory, progress, name or str(file))
        _unwrap(directory)
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, ValueError) as error:
        raise UserError(f"{name or file} cannot be unpacked: {_reason(file, error)}") from None
    except OSError as error:  # gzip's exceptions have no errno
        reason = error.strerror or _reason(file, error)
        raise UserError(f"{name or file} cannot be unpacked: {reason}") from None


def _extract(file: Path, directory: Path, progress: Progress, name: str) -> None:
    directory.mkdir(parents=True)
    total = file.stat().st_size // _MB
    with file.open("rb") as content, tarfile.open(fileobj=content) as tar:
        for member in tar:
            if not (member.isfile() or member.isdir()):
                raise UserError(
                    f"{name} contains {member.name!r}, a link or device; models and photos need "
                    "neither, so the archive may be malicious: do not use it"
                )
            tar.extract(member, directory, filter="data")
            progress(content.tell() // _MB, total, "MB unpacked")
        while tar.fileobj and tar.fileobj.read(_MB):
            pass  # the checksum follows padding that no member needs


def _unwrap(directory: Path) -> None:
    """Replace the folder by its only subfolder, if there is nothing else in it."""
    entries = [e for e in directory.iterdir() if not e.name.startswith("._")]  # macOS adds these
    if len(entries) == 1 and entries[0].is_dir():
        inner = entries[0].rename(atomic.temporary(entries[0]))  # no entry has this name
        for entry in inner.iterdir():
            entry.rename(directory / entry.name)
        inner.rmdir()


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, tarfile.FilterError):
        name = error.tarinfo.name
        return f"{name!r} is outside its folder; the archive may be malicious: do not use it"
    with file.open("rb") as content:
        start = content.read(512).lstrip()
    if start.startswith(b"<"):
        return "it is a web page, not an archive; check the address in a browser"
    if start.startswith(b"PK"):
        return "it is a zip file; unpack it first"
    if start.startswith(b"\x1f\x8b") or isinstance(error, EOFError):
        return "it is damaged or truncated; download it again"
    return "it is not a .tar or .tar.gz archive"
