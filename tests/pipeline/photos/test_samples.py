"""The sample photos: parts of photographs."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from pipeline.errors import UserError
from pipeline.photos import inspection, samples


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("samples") / "samples"
    samples.write_parts(directory)
    return directory


def test_each_class_has_enough_usable_photos_with_names_of_its_own(photos: Path) -> None:
    paths = sorted(photos.glob("*/*"))
    assert len({path.name for path in paths}) == len(paths)
    for label in samples.PHOTOGRAPHS:
        assert sum(path.parent.name == label for path in paths) >= 20
    inspected = [inspection.inspect(path) for path in paths]
    assert {found.status for found in inspected} == {inspection.OK}
    assert not any(found.grey for found in inspected)


def test_the_parts_form_the_photograph(photos: Path) -> None:
    parts = [np.asarray(Image.open(path), int) for path in sorted(photos.glob("cat/*"))]
    rows = [parts[i : i + samples.COLUMNS] for i in range(0, len(parts), samples.COLUMNS)]
    whole = np.block([[[part] for part in row] for row in rows])
    original = data.chelsea()[: whole.shape[0], : whole.shape[1]]
    assert whole.shape[0] > data.chelsea().shape[0] - samples.ROWS
    assert np.abs(whole - original).mean() < 3  # JPEG's loss


def test_without_scikit_image_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UserError, match=r"set image_dir .* pip install 'retrain\[samples\]'"):
        samples.write_parts(tmp_path / "samples")
    assert not (tmp_path / "samples").exists()


def test_photos_that_are_there_already_are_kept(tmp_path: Path) -> None:
    (tmp_path / "samples/cat").mkdir(parents=True)
    samples.write_parts(tmp_path / "samples")
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["cat"]
