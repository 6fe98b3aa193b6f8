"""Photos packed in tar files ("shards"), as WebDataset lays them out: read in place, not unpacked.

The path of such a photo says where it is: `<folders>/<shard>.tar:<offset>:<bytes>/<name in there>`,
so that nobody needs an index. Its label is, in this order,

    what stands beside the photo in the shard: as text in <key>.cls, or as "label" in <key>.json,
        the key being the photo's name up to the first dot
    the class folder that the shard lies in, if it lies in one
    the first folder of the photo's name in the shard
"""

import itertools
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.photos import discovery, inspection
from pipeline.photos.inspection import Inspection

_PLACE = re.compile(r"(?P<file>.*?\.tar):(?P<start>\d+):(?P<size>\d+)/", re.IGNORECASE | re.DOTALL)
_MOST_BESIDE = 2**16  # bytes of a file that names a label
_COMPONENT = re.compile(r"[^/]*\.tar:\d+:\d+/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """A photo in a shard: its label, its path, its size in bytes, and what its bytes say."""

    label: str
    path: str
    size: int
    inspection: Inspection


def place(path: str) -> tuple[str, int, int] | None:
    """The shard that a photo is in, and its first byte there and the one behind its last.

    None for a photo that is a file of its own.
    """
    found = _PLACE.match(path)
    if not found:
        return None
    start = int(found["start"])
    return found["file"], start, start + int(found["size"])


def unpacked(path: str) -> str:
    """The path that a photo would have if its shard were unpacked where it lies."""
    return _COMPONENT.sub("", path, count=1)


def members(file: BinaryIO, shard: str, label: str) -> Iterator[Member]:
    """The photos in a shard, in order, inspected; each byte of it is read once.

    What is wrong with one photo, or with the shard from some byte on, is a member with a status.

    Args:
        file: the shard's bytes.
        shard: its path.
        label: of the class folder that it lies in; empty where it lies in none.
    """
    offset = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for _, group in itertools.groupby(archive, _key):
                yield from _labelled(archive, group, shard, label)
                offset = archive.offset
            offset = archive.offset
        # tarfile takes whatever is no header for the end. The end is a block of zeros.
        file.seek(offset)
        whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except tarfile.TarError:
        whole = False
    if not whole:
        status = (
            "the shard breaks off here; copy it again"
            if offset
            else "not a tar file, or a compressed one; pack the photos without compression"
        )
        yield _aside(label, f"{shard}:{offset}:0/(the rest)", 0, status)


def _key(info: tarfile.TarInfo) -> str:
    folder, _, name = info.name.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _labelled(
    archive: tarfile.TarFile, group: Iterator[tarfile.TarInfo], shard: str, label: str
) -> Iterator[Member]:
    """The photos of one key. What stands beside them may come before or after them."""
    found: list[tuple[str, tarfile.TarInfo, Inspection]] = []
    beside, broken = "", None
    try:
        for info in group:  # each is read before the next one is looked for: never backwards
            name = posixpath.normpath(info.name).lstrip("/")
            if info.isdir() or "/." in f"/{name}":
                continue
            if name.endswith((".cls", ".json")) and info.size <= _MOST_BESIDE:
                beside = _beside(_content(archive, info), name) or beside
            elif discovery.may_be_photo(name.rpartition("/")[2]):
                found.append((name, info, _inspect(archive, info)))
    except tarfile.TarError as error:
        broken = error
    for name, info, inspected in found:
        of_photo = beside or label or name.rpartition("/")[0].partition("/")[0]
        path = f"{shard}:{info.offset_data}:{info.size}/{discovery.displayable(name)}"
        problem = (
            discovery.label_problem(of_photo)
            if of_photo
            else "its shard names no label for it; see docs/stores.md"
        )
        if problem and inspected.status == inspection.OK:
            yield _aside(discovery.displayable(of_photo), path, info.size, problem)
        else:
            yield Member(discovery.displayable(of_photo), path, info.size, inspected)
    if broken:
        raise broken


def _beside(content: bytes, name: str) -> str:
    """The label that a file beside a photo names; empty where it names none."""
    text = content.decode("utf-8", "replace").strip()
    if name.endswith(".cls"):
        return text
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return str(label).strip() if isinstance(label, str | int) else ""


def _inspect(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Inspection:
    problem = inspection.too_large(info.size)
    if discovery.displayable(info.name) != info.name:
        problem = "file name is not UTF-8; rename the file"
    if not info.isreg() or info.sparse:
        problem = "no plain file in its shard; pack the file itself (tar --hard-dereference -h)"
    if problem:
        return Inspection("", 0, 0, "", False, problem)
    return inspection.inspect_bytes(_content(archive, info))


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info) if info.isreg() else None
    return file.read() if file else b""


def _aside(label: str, path: str, size: int, status: str) -> Member:
    return Member(label, path, size, Inspection("", 0, 0, "", False, status))
