"""The options of the folders and the photos, for `options`."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pipeline.errors import UserError
from pipeline.files import output_store, places
from pipeline.files.output_store import OutputStore
from pipeline.files.places import Place
from pipeline.photos import corrections, datasets, split
from pipeline.photos.layout import Layout, parse_merge_labels
from tasks.configuration import config_default, option
from tasks.parameters import FolderParameter, OutputParameter, PlaceParameter

DATA_DIR = Path("data")
SAMPLE_DIR = DATA_DIR / "samples"


class OutputOptions:
    """Section [data]: the output folder."""

    output_dir = OutputParameter(
        default=cast(Path, places.parse(config_default("data", "output_dir", "data/output"))),
        description="folder for everything the pipeline writes, or its URL (s3://, gs://); "
        "`current` in it points to the current model",
    )
    work_dir = FolderParameter(
        default=Path(config_default("data", "work_dir", str(output_store.WORK_DIR))),
        significant=False,
        description="local folder that mirrors an output_dir that is a URL",
    )

    @classmethod
    def get_param_values(
        cls, params: Sequence[tuple[str, Any]], args: Any, kwargs: Any
    ) -> list[tuple[str, Any]]:
        """Replace the output folder by its local folder: itself, or the mirror of a URL."""
        values = dict(super().get_param_values(params, args, kwargs))  # type: ignore[misc]
        values["output_dir"] = output_store.local_folder(values["output_dir"], values["work_dir"])
        return list(values.items())

    @property
    def output_store(self) -> OutputStore:
        """The output store: the output folder alone, or with an object store behind it."""
        return output_store.open_store(self.output_dir)


_DATASETS = ("", *datasets.DATASETS)


class DataOptions(OutputOptions):
    """Section [data]: the photos, and how they are split."""

    dataset = option(
        "data.dataset",
        "",
        "public data set to download and use instead of image_dir: flower_photos, or food101 with "
        "its official split",
        choices=_DATASETS,
    )
    image_dir = PlaceParameter(
        default=places.parse(config_default("data", "image_dir", str(SAMPLE_DIR))),
        description="folder with one folder of photos per class, or its URL (s3://, gs://)",
    )
    split_file = option(
        "data.split_file",
        "",
        "predefined split: folder that contains train.txt and test.txt (one label/name per line), "
        "or such files, separated by commas; empty: split by the hash of the file name",
    )
    split_folders = option(
        "data.split_folders",
        False,
        "predefined split: image_dir contains the folders train, validation and test, and these "
        "contain the class folders",
    )
    merge_labels = option(
        "data.merge_labels",
        "",
        "labels to replace by others, as JSON such as "
        '{"livingroom": "livingRoom"}; the folders stay as they are',
    )
    validation_percentage = option(
        "data.validation_percentage", 10.0, "percentage of the photos used to choose between heads"
    )
    testing_percentage = option(
        "data.testing_percentage", 10.0, "percentage of the photos used to measure the accuracy"
    )
    group_duplicates = option(
        "data.group_duplicates",
        False,
        "keep identical files in the same split, whatever their names",
    )
    corrections = option(
        "data.corrections",
        "",
        "CSV file of labels to correct and photos to exclude, or its URL; empty: corrections.csv "
        "next to output_dir",
    )

    @classmethod
    def get_param_values(
        cls, params: Sequence[tuple[str, Any]], args: Any, kwargs: Any
    ) -> list[tuple[str, Any]]:
        """Replace the folders by those of the public data set, if there is one.

        Raises:
            UserError: if the command line names a folder of photos as well.
        """
        values = dict(super().get_param_values(params, args, kwargs))
        if values["dataset"]:
            dataset = datasets.DATASETS[values["dataset"]]
            directory = dataset.directory(values["dataset"], DATA_DIR)
            photos = directory / dataset.photos
            # A dataset takes the place of an image_dir in luigi.cfg.
            if values["image_dir"] not in (dict(params)["image_dir"]._default, photos):
                raise UserError(
                    "dataset and image_dir are both set, and each names the photos; pass only one"
                )
            values["image_dir"] = photos
            if dataset.lists and not values["split_file"]:
                values["split_file"] = str(directory / dataset.lists)
        return list(values.items())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Here and below: reject impossible values before any work is done.
        self.percentages = (self.validation_percentage, self.testing_percentage)
        split.SplitRule(*self.percentages)
        if self.split_folders and self.split_file:
            raise UserError(
                "split_folders and split_file are both set, and each states a split; pass only one"
            )
        self.layout = Layout(self.split_folders, parse_merge_labels(self.merge_labels))
        self.corrections_file = corrections.place(self.corrections, self.output_dir)
        _refuse_output_inside(self.image_dir, self.output_dir)


@functools.cache  # tasks are created often, once per class for example
def _refuse_output_inside(image_dir: Place, output_dir: Path) -> None:
    """Check that the results are not written between the photos, as if they were classes.

    Raises:
        UserError: if they are.
    """
    url = output_store.open_store(output_dir).url
    for output in filter(None, (output_dir, url)):
        if places.is_inside(places.parse(str(output)), image_dir):
            raise UserError(
                f"output_dir: {output} is inside image_dir ({image_dir}), where each folder is a "
                "class; set output_dir to a folder outside it"
            )
