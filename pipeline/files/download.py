"""Files from the web: resumed after a break, checked, and whole or not at all."""

import hashlib
import time
from pathlib import Path

import requests
import urllib3

from pipeline.errors import UserError
from pipeline.progress import Progress, silent

_MB = 2**20

_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_PAUSES = (1, 3, 10)  # seconds before another try; counted anew whenever something arrived
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # what a server says that may be better soon


class _FinalError(Exception):
    """What another try would not mend: the reason, and the remedy."""


def download(url: str, file: Path, progress: Progress = silent, sha256: str = "") -> None:
    """Fetch `url` to `file`. What came before a break lies beside it, and is not fetched again.

    One process at a time: see `storage.alone`.

    Args:
        url: http:// or https://; redirects are followed.
        file: where it goes.
        progress: counts MB.
        sha256: what it must be, in hex; empty takes what comes.

    Raises:
        UserError: where it cannot be fetched, or is something else than `sha256` says.
    """
    part = file.with_name(f".{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, progress)
            break
        except _FinalError as error:
            raise UserError(f"{url} cannot be fetched: {error}") from None
        # urllib3's own errors come through where the body breaks off.
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            tries = 0 if _size(part) > before else tries + 1
            if tries > len(_PAUSES):
                raise UserError(f"{url} cannot be fetched: {_reason(error)}") from None
            time.sleep(_PAUSES[max(tries - 1, 0)])
    if sha256:
        with part.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != sha256.lower():
            _forget(part)
            raise UserError(
                f"{url} is not what it was: its SHA-256 is {found} and should be {sha256}; "
                "try again, and if it stays so, do not use it"
            )
    part.replace(file)
    _forget(part)


def _transfer(url: str, part: Path, progress: Progress) -> None:
    """Go on with `part` where it ends, or from the start where the server has other content."""
    start = _size(part) if _tag(part).is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": _tag(part).read_text()}
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    except (ValueError, requests.TooManyRedirects) as error:  # addresses that are none
        raise _FinalError(f"{str(error).rstrip('.')}; check the address") from None
    with response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return  # all of it was there already
            _forget(part)
            raise requests.ConnectionError("it was shorter than what had come before")
        _check_status(response)
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _forget(part)
            raise requests.ConnectionError("the server sent another part than was asked for")
        if not resumed:
            start = 0
            _remember(response, part)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        name = f"MB of {_name(url)} fetched"
        with part.open("ab" if resumed else "wb", buffering=0) as file:
            for block in response.raw.stream(_MB, decode_content=False):
                file.write(block)
                done = file.tell()
                progress(done // _MB, max(total // _MB, done // _MB + (not total)), name)


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    said = f"the answer is {status} {response.reason}"
    if response.history:  # what stands behind the ? may be a signature
        said += f" from {response.url.split('?')[0]}"
    if status in _PASSING:
        raise requests.ConnectionError(said)
    if status in (404, 410):
        raise _FinalError(f"{said}: there is no such thing; check the address in a browser")
    if status in (401, 403):
        raise _FinalError(f"{said}; it may need a login: fetch it in a browser")
    if status not in (200, 206):
        raise _FinalError(f"{said}; check the address in a browser")


def _remember(response: requests.Response, part: Path) -> None:
    """Write down which content it is, so that a later try goes on with the same or starts anew."""
    tag = response.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # a weak one says alike, not equal
        tag = response.headers.get("Last-Modified", "")
    _forget(part)
    if tag:
        _tag(part).write_text(tag)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    return part.with_suffix(".tag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _name(url: str) -> str:
    return url.split("?")[0].rstrip("/").rpartition("/")[2]


def _reason(error: Exception) -> str:
    """What went wrong in a few words: the libraries tell of their pools and objects."""
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text or "ProxyError" in text:
        return "its server cannot be reached; check the network"
    if "Connection refused" in text or "unreachable" in text or "timed out" in text:
        return "its server does not answer; check the network, or try later"
    if "CERTIFICATE" in text.upper():
        return "its server's certificate is not valid; check the address and the network"
    if "the answer is" in text:
        return f"{text}; try later"
    return "the transfer breaks off again and again; try later"
