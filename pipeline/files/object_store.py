"""Object stores such as S3: list and read files by URL, through fsspec.

Credentials come from the environment, in the form that each object store's library expects. They
are never shown or written.
"""

import errno
import hashlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.errors import UserError, reraise_exhausted
from pipeline.files import network

READERS = 32  # concurrent reads; each mostly waits for the network
ATTEMPTS = 5  # per read, or per page of a listing
WAIT_S = 0.5  # seconds before the second attempt, doubled before each further one
READ_S = 60.0  # timeout of an attempt
_CA_BUNDLES = "AWS_CA_BUNDLE (s3://) or SSL_CERT_FILE (gs://)"
BLOCK = 4 * 2**20  # bytes of a large file read at once
_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
# Properties that change with a file's content, most reliable first.
_VERSIONS = (
    *("ETag", "md5Hash", "generation", "etag"),
    *("LastModified", "last_modified", "updated", "mtime", "modified", "created"),
)


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A folder on an object store, or a file below it.

    Attributes:
        root: URL of the folder, without a trailing slash.
        path: path of the file below the folder, with `/`; empty for the folder itself.
    """

    root: str
    path: str = ""

    def __truediv__(self, path: str) -> "RemotePath":
        return RemotePath(self.root, f"{self.path}/{path}" if self.path else path)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file in a listing.

    Attributes:
        path: relative to the listed folder, with `/`.
        size: bytes; -1 if unknown.
        version: a number from 0 to 2**63 - 1 that changes with the content.
    """

    path: str
    size: int
    version: int


def parse(url: str) -> RemotePath:
    """Parse the URL of a folder or file.

    Raises:
        UserError: if it contains a password, which would end up in results and logs.
    """
    if urlsplit(url).password:
        scheme, host = url.partition("://")[0], urlsplit(url).hostname
        raise UserError(
            f"the URL {scheme}://{host} contains a password, which would leak into results and "
            "logs; use credentials from the environment or the library's own file instead"
        )
    stripped = url.rstrip("/")
    return RemotePath(url if stripped.endswith(":") else stripped)


def file_system(url: str, attempts: int = 0) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Args:
        url: URL of any folder or file.
        attempts: attempts per request on S3, where those of botocore and s3fs would multiply; 0
            keeps their defaults. Other object stores use their own.

    Raises:
        UserError: if the scheme is unknown, its library is not installed, or the server does not
            answer.
    """
    scheme = url.partition("://")[0]
    try:
        import fsspec
        from fsspec.config import conf

        if scheme != "s3" or not attempts:
            system, root = fsspec.url_to_fs(url, use_listings_cache=False)
            return system, str(root)
        configured = conf.get("s3", {}).get("config_kwargs", {})
        ours = {"retries": {"total_max_attempts": attempts}, "max_pool_connections": READERS}
        system, root = fsspec.url_to_fs(
            url, use_listings_cache=False, config_kwargs=ours | configured
        )
        system.retries = 1
    except ImportError as error:  # for other schemes, fsspec names the library
        known = _LIBRARIES.get(scheme)
        library = f"; install it (pip install {known})" if known else f": {error_reason(error)}"
        raise UserError(f"{url}: reading {scheme}:// URLs needs a library{library}") from None
    except ValueError:
        raise UserError(
            f"{url}: unknown scheme {scheme}://; use https://, s3:// or gs://"
        ) from None
    except Exception as error:  # some connect at once, and raise exceptions of their own
        reraise_exhausted(error)
        raise UserError(
            f"{url} cannot be opened: {error_reason(error)}; check the address and your access to "
            "it, or use https://, s3:// or gs://"
        ) from None
    return system, str(root)


def list_files(folder: RemotePath) -> Iterator[ListedFile]:
    """Yield all files below a folder, sorted by folder and name, from one listing.

    Raises:
        UserError: if the folder cannot be listed.
    """
    system, root = file_system(str(folder), ATTEMPTS)
    try:
        objects = system.find(root, detail=True)
    except Exception as error:  # every library raises exceptions of its own
        raise UserError(
            f"{folder} cannot be listed: {error_reason(error)}; check the address and your access "
            "to it, and run again"
        ) from None
    prefix = f"{root.rstrip('/')}/"
    files = {name.removeprefix(prefix): facts for name, facts in objects.items()}
    for path in sorted(files, key=lambda path: path.split("/")):
        facts = files[path]
        size = -1 if facts.get("size") is None else int(facts["size"])
        yield ListedFile(path, size, _version(facts))


def _version(facts: dict[str, Any]) -> int:
    versions = (facts[name] for name in _VERSIONS if facts.get(name))
    version = next(versions, time.time_ns())  # a file without any is read again in every run
    return int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:8]) >> 1


def retries() -> Iterator[None]:
    """Yield once per attempt, waiting WAIT_S seconds before the second, then twice as long each."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        yield


def read(file: RemotePath, start: int = 0, end: int | None = None) -> bytes:
    """Return the bytes of a file from `start` up to, but excluding, `end`.

    Beyond the end of the file there are none, as with a local file. An attempt that fails, or takes
    more than READ_S seconds, is repeated as `retries` says.

    Raises:
        FileNotFoundError: if the file does not exist any more.
        UserError: if it cannot be read.
    """
    system, root = file_system(file.root, attempts=1)
    path = f"{root.rstrip('/')}/{file.path}" if file.path else root
    limit = {"timeout": READ_S} if system.async_impl else {}
    for _ in retries():
        try:
            # With a start, s3fs does not ask for the size first.
            return bytes(system.cat_file(path, start=start, end=end, **limit))
        except FileNotFoundError:
            missing = errno.ENOENT
            raise FileNotFoundError(missing, os.strerror(missing), str(file)) from None
        except PermissionError as error:
            raise UserError(
                f"{file} cannot be read: {error_reason(error)}; check your access to it"
            ) from None
        except Exception as error:
            reason = error_reason(error)
            if "satisfiable" in reason:  # HTTP status 416: the range is beyond the end of the file
                return b""
    raise UserError(
        f"{file} cannot be read in {ATTEMPTS} attempts: {reason}; run again: finished work is kept"
    )


class _Blocks(io.RawIOBase):
    """A file on an object store as a readable file object; `read` fetches what is needed."""

    def __init__(self, file: RemotePath, size: int) -> None:
        self._file, self._size, self._position = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        end = min(self._position + len(buffer), self._size)
        content = read(self._file, self._position, end) if self._position < end else b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_file(file: RemotePath, size: int) -> BinaryIO:
    """Open a file of the given size for reading, BLOCK bytes at a time."""
    return io.BufferedReader(_Blocks(file, size), BLOCK)


def error_reason(error: Exception) -> str:
    """Return the reason of an error in one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if reason := network.reason(error, _CA_BUNDLES):
        return reason
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle and "No such file" in str(error) and not Path(bundle).exists():
        return f"AWS_CA_BUNDLE names {bundle}, which does not exist; correct it or unset it"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
