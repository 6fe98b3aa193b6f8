"""Downloads: resumable, verified, and complete or not at all."""

import hashlib
import time
from pathlib import Path

import requests
import urllib3

from pipeline.errors import UserError
from pipeline.files import network
from pipeline.progress import Progress, silent

_MB = 2**20

_TIMEOUT = (10, 60)  # seconds to connect, and to wait for data
_PAUSES = (1, 3, 10)  # seconds before each retry; progress resets the count
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)  # status codes worth a retry


class _FinalError(Exception):
    """An error that a retry would not fix: the reason, and the remedy."""


def download(url: str, file: Path, progress: Progress = silent, sha256: str = "") -> None:
    """Download a URL to a file. After an interruption, only the rest is downloaded.

    Only one process at a time may download to a file: see `locks.beside`.

    Args:
        url: http:// or https://; redirects are followed.
        file: where the download ends up.
        progress: counts MB.
        sha256: expected SHA-256 in hex; empty accepts any content.

    Raises:
        UserError: if the download fails, or its SHA-256 is not the expected one.
    """
    part = file.with_name(f".{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, progress)
            break
        except _FinalError as error:
            raise UserError(f"{url} cannot be downloaded: {error}") from None
        # urllib3's own exceptions pass through when the body is cut off.
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures > len(_PAUSES):
                raise UserError(f"{url} cannot be downloaded: {_reason(error)}") from None
            time.sleep(_PAUSES[max(failures - 1, 0)])
    if sha256:
        with part.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != sha256.lower():
            _discard(part)
            raise UserError(
                f"{url} has the SHA-256 {digest} instead of {sha256}; try again, and do not use it "
                "if the difference remains"
            )
    part.replace(file)
    _discard(part)


def _transfer(url: str, part: Path, progress: Progress) -> None:
    """Continue `part` where it ends, or restart it if the content on the server has changed."""
    start = _size(part) if _tag(part).is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": _tag(part).read_text()}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except (ValueError, requests.TooManyRedirects) as error:  # malformed addresses
        raise _FinalError(f"{str(error).rstrip('.')}; check the address") from None
    except OSError as error:
        reason = network.reason(error)
        if isinstance(error, requests.RequestException) or not reason:
            raise
        raise _FinalError(reason) from None
    with response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return  # the file is complete already
            _discard(part)
            raise requests.ConnectionError("the file is shorter than the part downloaded before")
        _check_status(response)
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _discard(part)
            raise requests.ConnectionError("the server sent a different range than requested")
        if not resumed:
            start = 0
            _record_validator(response, part)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        name = f"MB of {_name(url)} downloaded"
        with part.open("ab" if resumed else "wb", buffering=0) as file:
            if total:
                progress(start // _MB, total // _MB, name)  # the rate is that of the rest
            for block in response.raw.stream(_MB, decode_content=False):
                file.write(block)
                done = file.tell()
                progress(done // _MB, max(total // _MB, done // _MB + (not total)), name)


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    answer = f"the server answered {status} {response.reason}"
    if response.history:  # the query string may be a signature, which is left out
        answer += f" at {response.url.split('?')[0]}"
    if status in _TRANSIENT:
        raise requests.ConnectionError(answer)
    if status in (404, 410):
        raise _FinalError(f"{answer}; check the address in a browser")
    if status in (401, 403):
        raise _FinalError(f"{answer}; it may require a login: download it in a browser")
    if status not in (200, 206):
        raise _FinalError(f"{answer}; check the address in a browser")


def _record_validator(response: requests.Response, part: Path) -> None:
    """Record the content's ETag or date, so that a later attempt resumes only the same content."""
    tag = response.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # weak: the content may differ
        tag = response.headers.get("Last-Modified", "")
    _discard(part)
    if tag:
        _tag(part).write_text(tag)


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    return part.with_suffix(".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _name(url: str) -> str:
    return url.split("?")[0].rstrip("/").rpartition("/")[2]


def _reason(error: Exception) -> str:
    """Return a short reason: the libraries' own messages describe pools and objects."""
    if reason := network.reason(error):
        return reason
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "the server cannot be reached; check the network"
    if "Connection refused" in text or "unreachable" in text or "timed out" in text:
        return "the server does not answer; check the network, or try later"
    if "the server answered" in text:
        return f"{text}; try later"
    return "the transfer was interrupted repeatedly; try later"
