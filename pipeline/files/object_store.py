"""Files in a store, such as S3, by their URL, through fsspec: list them at once, read them.

Who may read is said by the environment, as the store's own library wants it; nothing of it is
shown or written.
"""

import errno
import hashlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.errors import UserError

READERS = 32  # reads at the same time: each mostly waits
ATTEMPTS = 5  # at one read, or one page of a listing
WAIT_S = 0.5  # before the second attempt; before each further one, twice as long
READ_S = 60.0  # that an attempt may take
BLOCK = 4 * 2**20  # bytes of a large file that are read at once
_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
# What a store tells of a file that changes with its content; the first one counts.
_VERSIONS = (
    *("ETag", "md5Hash", "generation", "etag"),
    *("LastModified", "last_modified", "updated", "mtime", "modified", "created"),
)


@dataclass(frozen=True, slots=True)
class RemotePath:
    """A folder of a store, or a file below it.

    Attributes:
        root: URL of the folder, without a slash at the end.
        path: from there to the file, with `/`; empty for the folder itself.
    """

    root: str
    path: str = ""

    def __truediv__(self, path: str) -> "RemotePath":
        return RemotePath(self.root, f"{self.path}/{path}" if self.path else path)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a listing shows it.

    Attributes:
        path: from the folder that was listed, with `/`.
        size: bytes; -1 where the store does not tell.
        version: a number from 0 to 2**63 - 1 that changes with the content.
    """

    path: str
    size: int
    version: int


def parse(url: str) -> RemotePath:
    """The folder, or the file, at a URL.

    Raises:
        UserError: where a password is in it, which would end up in results and logs.
    """
    if urlsplit(url).password:
        scheme, host = url.partition("://")[0], urlsplit(url).hostname
        raise UserError(
            f"{scheme}://{host} was given with a password, which would be written to results and "
            "logs; let the environment or the library's own file say who you are"
        )
    stripped = url.rstrip("/")
    return RemotePath(url if stripped.endswith(":") else stripped)


def file_system(url: str, attempts: int = 0) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Args:
        url: of anything in it.
        attempts: at each request, on S3, where botocore's and s3fs's own numbers would multiply;
            0 leaves it to them. Other stores have numbers of their own.

    Raises:
        UserError: where there is none for such URLs, or its library is not installed.
    """
    scheme = url.partition("://")[0]
    try:
        import fsspec
        from fsspec.config import conf

        if scheme != "s3" or not attempts:
            system, root = fsspec.url_to_fs(url, use_listings_cache=False)
            return system, str(root)
        given = conf.get("s3", {}).get("config_kwargs", {})
        own = {"retries": {"total_max_attempts": attempts}, "max_pool_connections": READERS}
        system, root = fsspec.url_to_fs(url, use_listings_cache=False, config_kwargs=own | given)
        system.retries = 1
    except ImportError:
        library = _LIBRARIES.get(scheme, "fsspec")
        raise UserError(
            f"{url} needs a library for {scheme}:// addresses; get it (pip install {library})"
        ) from None
    except ValueError:
        raise UserError(
            f"{url} begins with {scheme}://, which is not known here; use https://, s3:// or gs://"
        ) from None
    return system, str(root)


def list_files(folder: RemotePath) -> Iterator[ListedFile]:
    """All files below a folder, in the order of the names on their way, from one listing.

    Raises:
        UserError: where the folder cannot be listed.
    """
    system, root = file_system(str(folder), ATTEMPTS)
    try:
        found = system.find(root, detail=True)
    except Exception as error:  # each store's library raises errors of its own
        raise UserError(
            f"{folder} cannot be listed: {error_reason(error)}; check the address and your access "
            "to it, and run again"
        ) from None
    prefix = f"{root.rstrip('/')}/"
    files = {name.removeprefix(prefix): facts for name, facts in found.items()}
    for path in sorted(files, key=lambda path: path.split("/")):
        facts = files[path]
        size = -1 if facts.get("size") is None else int(facts["size"])
        yield ListedFile(path, size, _version(facts))


def _version(facts: dict[str, Any]) -> int:
    told = (facts[name] for name in _VERSIONS if facts.get(name))
    version = next(told, time.time_ns())  # of what has none, a new one: it is read in each run
    return int.from_bytes(hashlib.sha256(str(version).encode()).digest()[:8]) >> 1


def retries() -> Iterator[None]:
    """Once for each of ATTEMPTS attempts: WAIT_S seconds before the second, then twice as many."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(WAIT_S * 2 ** (attempt - 1))
        yield


def read(file: RemotePath, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of a file from `start` to before `end`, in one request where all is well.

    Past the file's end there are none, as in a file of this machine.

    An attempt that fails, or takes more than READ_S seconds, is repeated, as `attempts` says.

    Raises:
        FileNotFoundError: where the file is no longer there.
        UserError: where it cannot be read.
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
            last = error_reason(error)
            if "satisfiable" in last:  # HTTP's word for a range with nothing in it
                return b""
    raise UserError(
        f"{file} cannot be read, in {ATTEMPTS} attempts: {last}; what is done is kept: run again "
        "to go on"
    )


class _Blocks(io.RawIOBase):
    """A file in a store, as a file that can be read; what is wanted of it comes by `read`."""

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
    """A file of so many bytes, to be read from its beginning, BLOCK bytes at a time."""
    return io.BufferedReader(_Blocks(file, size), BLOCK)


def error_reason(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
