"""The listing: the image folder at one moment, before any photo is opened."""

import hashlib
from dataclasses import dataclass

import pandas as pd

from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.photos import discovery, sources

STAT = ["path", "size", "mtime_ns", "ctime_ns"]  # columns that are the same if a photo is unchanged


@dataclass(frozen=True)
class Listing:
    """The files of an image folder.

    Attributes:
        photos: one row per file: label, path, size, mtime_ns, ctime_ns, unusable.
        tar_files: the same for tar files, which `build` opens; the label is empty where they
            contain the labels.
        labels: the class folders, sorted.
        stray: number of photos beside the class folders.
        digest: digest of all but the stray photos; if it is unchanged, so is every photo.
    """

    photos: pd.DataFrame
    tar_files: pd.DataFrame
    labels: tuple[str, ...]
    stray: int
    digest: str


def list_photos(image_dir: Place) -> Listing:
    """List the image folder without opening any photo.

    Raises:
        UserError: if there is no such folder, or it contains no class folder or no photo.
    """
    columns: dict[str, list[object]] = {name: [] for name in ["label", *STAT, "unusable"]}
    hasher = hashlib.sha256()
    contents = sources.contents(image_dir)
    for photo in contents.found:
        row = (photo.label, photo.path, photo.size, photo.mtime_ns, photo.ctime_ns, photo.unusable)
        hasher.update(repr(row).encode())
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    hasher.update(repr(contents.labels).encode())
    frame = pd.DataFrame(columns)
    if frame.empty:
        raise UserError(
            f"image_dir: the class folders of {image_dir} contain no photos; "
            "put JPEG, PNG, GIF, BMP or WebP files into them"
        )
    is_tar = frame["path"].map(discovery.is_tar)
    return Listing(
        photos=frame[~is_tar].reset_index(drop=True),
        tar_files=frame[is_tar].reset_index(drop=True),
        labels=contents.labels,
        stray=contents.stray,
        digest=hasher.hexdigest(),
    )
