"""Public data sets by name: the publishers' archives, downloaded once and verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pipeline.errors import UserError
from pipeline.files import archive, atomic, download, locks, naming
from pipeline.progress import Progress


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        url: the publisher's archive.
        sha256: SHA-256 of the archive in hex.
        megabytes: size of the archive; unpacked, it takes about the same again.
        photos: folder of class folders in the archive.
        lists: folder with the official split's train.txt and test.txt; empty if there is none.
        notice: origin and terms of use.
    """

    url: str
    sha256: str
    megabytes: int
    photos: str
    lists: str
    notice: str

    def directory(self, name: str, data_dir: Path) -> Path:
        """Return the folder to unpack to; another archive of the same name has another folder."""
        return data_dir / f"{name}-{self.sha256[: naming.DIGEST_LENGTH]}"


# The digests are those that TensorFlow Datasets records for the same archives.
DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "flower_photos": Dataset(
            "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
            "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
            218,
            ".",
            "",
            "3,670 photos of five kinds of flowers, licensed under Creative Commons Attribution "
            "2.0 by the photographers listed in LICENSE.txt",
        ),
        "food101": Dataset(
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
            4765,
            "images",
            "meta",
            "101,000 photos of 101 dishes (Bossard, Guillaumin and Van Gool, ECCV 2014) from "
            "foodspotting.com; any use beyond scientific fair use requires the permission of the "
            "owners: see the licence in the folder",
        ),
    }
)


def fetch(name: str, data_dir: Path, progress: Progress) -> None:
    """Download a data set and unpack it into its `directory`. Interrupted downloads resume.

    Args:
        name: one of `DATASETS`.
        data_dir: folder of all data sets.
        progress: counts MB.

    Raises:
        UserError: if the download fails, or its SHA-256 is not the expected one.
    """
    dataset = DATASETS[name]
    directory = dataset.directory(name, data_dir)
    archive_file = directory.with_name(f"{directory.name}.archive")
    with locks.beside(directory):
        if directory.is_dir():
            return
        try:
            if not archive_file.is_file():  # else an earlier run was killed while unpacking
                download.download(dataset.url, archive_file, progress, dataset.sha256)
            with atomic.write(directory) as temporary:
                archive.unpack(archive_file, temporary, progress)
        except UserError as error:
            raise UserError(f"dataset: {error}") from None
        archive_file.unlink()
