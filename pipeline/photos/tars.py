"""Photos in tar files, as WebDataset writes them: read in place, without unpacking.

The path of such a photo contains its position, so no index is needed:
`<folders>/<name>.tar:<offset>:<bytes>/<name in the tar file>`. Its label is the first of

    the label beside the photo in the tar file: the text of <key>.cls, or "label" in <key>.json,
        where the key is the photo's name up to the first dot
    the class folder that contains the tar file
    the class folder in the photo's name in the tar file: the first one, or the one below the folder
        of a split
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
from pipeline.photos.file_names import Kind, kind, leftover
from pipeline.photos.inspection import Inspection, Problem
from pipeline.photos.layout import PLAIN, Layout

_PLACE = re.compile(r"(?P<file>.*?\.tar):(?P<start>\d+):(?P<size>\d+)/", re.IGNORECASE | re.DOTALL)
_MAX_LABEL_BYTES = 2**16  # size of a label file
_COMPONENT = re.compile(r"[^/]*\.tar:\d+:\d+/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """A photo in a tar file: its label, path, size in bytes and inspection."""

    label: str
    path: str
    size: int
    inspection: Inspection


def place(path: str) -> tuple[str, int, int] | None:
    """Return the tar file that contains a photo, its first byte and the one after its last.

    None for a photo that is a file of its own.
    """
    match = _PLACE.match(path)
    if not match:
        return None
    start = int(match["start"])
    return match["file"], start, start + int(match["size"])


def unpacked(path: str) -> str:
    """Return the path that a photo would have if its tar file were unpacked in place."""
    return _COMPONENT.sub("", path, count=1)


def members(file: BinaryIO, tar_file: str, label: str, layout: Layout = PLAIN) -> Iterator[Member]:
    """Yield the photos in a tar file, inspected; each byte is read once.

    A problem with a photo, or with the tar file from some byte on, is a member with a status.

    Args:
        file: the bytes of the tar file.
        tar_file: its path.
        label: the label of the class folder that contains it; empty if there is none.
        layout: what folders mean.
    """
    offset = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for _, group in itertools.groupby(archive, _key):
                yield from _labelled(archive, group, tar_file, label, layout)
                offset = archive.offset
            offset = archive.offset
        # tarfile stops at anything that is not a header. The real end is a block of zeros.
        file.seek(offset)
        complete = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except tarfile.TarError:
        complete = False
    if not complete:
        status = (
            "the tar file is truncated here; copy it again"
            if offset
            else "not an uncompressed tar file; pack the photos without compression"
        )
        rest = f"{tar_file}:{offset}:0/(the rest)"
        yield Member(label, rest, 0, inspection.set_aside(status))


def _key(info: tarfile.TarInfo) -> str:
    folder, _, name = info.name.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def _labelled(
    archive: tarfile.TarFile,
    group: Iterator[tarfile.TarInfo],
    tar_file: str,
    label: str,
    layout: Layout,
) -> Iterator[Member]:
    """Yield the photos of one key. Their label file may come before or after them."""
    photos: list[tuple[str, tarfile.TarInfo, Inspection]] = []
    label_beside, error = "", None
    try:
        for info in group:  # read before the next header, so that reading never goes backwards
            name = posixpath.normpath(info.name).lstrip("/")
            *folders, file_name = name.split("/")
            if info.isdir() or any(map(leftover, folders)):
                continue
            if name.endswith((".cls", ".json")) and info.size <= _MAX_LABEL_BYTES:
                label_beside = _parse_label(_content(archive, info), name) or label_beside
            elif kind(file_name) in (Kind.PHOTO, Kind.UNKNOWN):
                photos.append((name, info, _inspect(archive, info)))
    except tarfile.TarError as tar_error:
        error = tar_error
    for name, info, inspected in photos:
        place_of_tar = tar_file.rpartition("/")[0]
        unpacked_path = f"{place_of_tar}/{name}" if place_of_tar else name
        photo_label = layout.merged(label_beside) or label or layout.label(unpacked_path)
        path = f"{tar_file}:{info.offset_data}:{info.size}/{discovery.displayable(name)}"
        problem = (
            discovery.label_problem(photo_label)
            if photo_label
            else "has no label in its tar file; see docs/stores.md"
        )
        if problem and inspected.status == inspection.OK:
            inspected = inspection.set_aside(problem, Problem.UNLABELLED)
        yield Member(discovery.displayable(photo_label), path, info.size, inspected)
    if error:
        raise error


def _parse_label(content: bytes, name: str) -> str:
    """Return the label in a label file, or an empty string."""
    text = content.decode("utf-8", "replace").strip()
    if name.endswith(".cls"):
        return text
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return str(label).strip() if isinstance(label, str | int) else ""


def _inspect(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Inspection:
    if large := inspection.too_large(info.size):
        return inspection.set_aside(large, Problem.TOO_LARGE)
    problem = ""
    if discovery.displayable(info.name) != info.name:
        problem = "file name is not UTF-8; rename the file"
    if not info.isreg() or info.sparse:
        problem = (
            "not a regular file in its tar file; pack the file itself (tar --hard-dereference -h)"
        )
    if problem:
        return inspection.set_aside(problem)
    return inspection.inspect_bytes(_content(archive, info))


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info) if info.isreg() else None
    return file.read() if file else b""
