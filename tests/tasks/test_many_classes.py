"""A thousand classes: the work grows linearly with their number."""

from collections.abc import Callable
from typing import Any

import luigi
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pyarrow import dataset

from pipeline.modules import loading, preparation
from tasks import ComputeBottlenecks, TrainHead
from tests.support.commands import run

CLASSES = 1000
Counter = Callable[[object, str], Callable[[], int]]


@pytest.fixture
def many(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a pipeline on two tiny photos per class."""
    colours = np.random.default_rng(0).integers(0, 255, (CLASSES, 2, 3), np.uint8)
    for number in range(CLASSES):
        folder = options["image_dir"].parent / "many" / f"class {number}"
        folder.mkdir(parents=True)
        for i, colour in enumerate(colours[number]):
            Image.new("RGB", (8, 8), tuple(map(int, colour))).save(folder / f"{number}-{i}.png")
    return options | {"image_dir": folder.parent}


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Return a function that counts the calls of another function."""

    def counted(owner: Any, name: str) -> Callable[[], int]:
        function, calls = getattr(owner, name), [0]

        def counting(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
        return lambda: calls[0]

    return counted


@pytest.mark.slow
def test_work_grows_with_the_classes_and_not_with_their_square(
    many: dict[str, Any], count: Counter
) -> None:
    picked, looked_up = count(pd.DataFrame, "take"), count(luigi.Parameter, "__get__")
    asked = [count(preparation, "fingerprint"), count(loading, "read")]
    found = count(pd.Index, "get_indexer")  # its cost grows with the number of keys
    groups = count(pq.ParquetFile, "read_row_group")
    run(ComputeBottlenecks(**many))
    assert picked() < 1.1 * CLASSES  # rows of each class, once
    assert found() < CLASSES / 10
    assert groups() < CLASSES / 10  # of journal files, which contain photos of many classes
    checked, scans = count(pq, "read_metadata"), count(dataset, "dataset")
    run(TrainHead(**many))
    assert looked_up() < 600 * CLASSES  # each class is a task with options
    assert all(calls() < 20 for calls in asked)
    assert checked() == 2 * CLASSES  # Luigi checks twice whether a class is complete
    assert scans() == 2  # the files of the training and of the validation split
