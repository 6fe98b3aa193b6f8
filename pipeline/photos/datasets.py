"""Public data sets by name: the publishers' own archives, fetched once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pipeline.errors import UserError
from pipeline.files import archive, atomic, download, locks, naming
from pipeline.progress import Progress


@dataclass(frozen=True)
class Dataset:
    """A data set that can be asked for by name.

    Attributes:
        url: of its archive, at the publisher's.
        sha256: of the archive, in hex.
        megabytes: of the archive, to fetch and about the same again to unpack.
        photos: folder of class folders, in what is unpacked.
        lists: folder with the official split's train.txt and test.txt; empty where there is none.
        notice: whose it is, and what one may do with it.
    """

    url: str
    sha256: str
    megabytes: int
    photos: str
    lists: str
    notice: str

    def directory(self, name: str, data_dir: Path) -> Path:
        """Where it is unpacked: another archive under the same name would go elsewhere."""
        return data_dir / f"{name}-{self.sha256[: naming.DIGEST_LENGTH]}"


# The digests are those that TensorFlow Datasets has recorded for the same archives.
DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "flower_photos": Dataset(
            "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
            "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
            218,
            ".",
            "",
            "3,670 photos of five kinds of flowers, by the photographers whom LICENSE.txt in the "
            "folder names, under Creative Commons Attribution 2.0",
        ),
        "food101": Dataset(
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
            4765,
            "images",
            "meta",
            "101,000 photos of 101 dishes (Bossard, Guillaumin and Van Gool, ECCV 2014) from "
            "foodspotting.com; for any use beyond fair use in science, their owners must be asked: "
            "see the licence in the folder",
        ),
    }
)


def fetch(name: str, data_dir: Path, progress: Progress) -> None:
    """Fetch a data set and unpack it into its `directory`. Whatever came before a break is kept.

    Args:
        name: one of `DATASETS`.
        data_dir: where data sets are kept.
        progress: counts MB.

    Raises:
        UserError: where it cannot be fetched, or is not what it should be.
    """
    dataset = DATASETS[name]
    directory = dataset.directory(name, data_dir)
    fetched = directory.with_name(f"{directory.name}.archive")
    with locks.beside(directory):
        if directory.is_dir():
            return
        try:
            if not fetched.is_file():  # else an earlier run was ended while it unpacked
                download.download(dataset.url, fetched, progress, dataset.sha256)
            with atomic.write(directory) as temporary:
                archive.unpack(fetched, temporary, progress)
        except UserError as error:
            raise UserError(f"dataset: {error}") from None
        fetched.unlink()
