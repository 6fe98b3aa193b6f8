"""The listing: the image folder at one moment, before any photo is opened."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.photos import discovery, layout, sources
from pipeline.photos.file_names import Skipped, composed
from pipeline.photos.layout import PLAIN, Layout

STAT = ["path", "size", "mtime_ns", "ctime_ns"]  # columns that are the same if a photo is unchanged


@dataclass(frozen=True)
class Listing:
    """The files of an image folder.

    Attributes:
        photos: one row per file: label, path, size, mtime_ns, ctime_ns, unusable.
        tar_files: the same for tar files, which `build` opens; the label is empty where they
            contain the labels.
        labels: the labels of the class folders, sorted.
        stray: number of photos outside class folders.
        digest: digest of all but the stray and skipped files; if it is unchanged, so is every
            photo.
        layout: what the folders mean.
        skipped: files that are not photos, as far as their names say.
    """

    photos: pd.DataFrame
    tar_files: pd.DataFrame
    labels: tuple[str, ...]
    stray: int
    digest: str
    layout: Layout = PLAIN
    skipped: Skipped = field(default_factory=Skipped)


def list_photos(image_dir: Place, meaning: Layout = PLAIN, excluded: Path | None = None) -> Listing:
    """List the image folder without opening any photo.

    Args:
        image_dir: the image folder.
        meaning: what its folders mean.
        excluded: a local folder that is not part of it wherever it is: the output folder.

    Raises:
        UserError: if there is no such folder, it contains no class folder or no photo, or its
            folders do not mean what `meaning` says.
    """
    columns: dict[str, list[object]] = {name: [] for name in ["label", *STAT, "unusable"]}
    hasher = hashlib.sha256()
    contents = sources.contents(image_dir, meaning, excluded)
    for photo in contents.found:
        label = meaning.merged(photo.label)
        row = (label, photo.path, photo.size, photo.mtime_ns, photo.ctime_ns, photo.unusable)
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
    labels = contents.labels
    if not meaning.split_folders:
        layout.refuse_split_folders(image_dir, labels, frame["path"])
    if not frame["path"].map(discovery.is_tar).any():  # tar files may contain other labels
        layout.refuse_unknown(meaning, image_dir, contents.parts, set(map(composed, labels)))
    is_tar = frame["path"].map(discovery.is_tar)
    return Listing(
        photos=frame[~is_tar].reset_index(drop=True),
        tar_files=frame[is_tar].reset_index(drop=True),
        labels=tuple(sorted({meaning.merged(label) for label in labels})),
        stray=contents.stray,
        digest=hasher.hexdigest(),
        layout=meaning,
        skipped=contents.skipped,
    )
