"""Photos in, vectors out: in order, whatever lies between them, at either precision."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.modules.loading import Module
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec
from tests.support.saved_modules import refusing_module

SIZE = 8
SAMPLES = Path(skimage.__file__).parent / "data"

PhotoMaker = Callable[..., Path]


@pytest.fixture(scope="module")
def mean_colour(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """A module whose vectors are the mean colours of the photos."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    module.__call__ = tf.function(lambda images: tf.reduce_mean(images, [1, 2]), [spec])
    directory = tmp_path_factory.mktemp("module")
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return Module(str(directory), str(directory), "0" * 64, SIZE, SIZE, 3)


def shades(directory: Path, count: int) -> list[Path]:
    """Photos of one colour each, whose red is their number."""
    paths = [directory / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (5, 4), (number, 100, 200)).save(path)
    return paths


def vectors(paths: Sequence[Path], module: Module, precision: str = "float32") -> np.ndarray:
    """All vectors, once it is sure that there is one for each photo and in order."""
    batches = list(extraction.extract(paths, module, precision))
    indices = np.concatenate([batch.indices for batch in batches])
    assert indices.tolist() == list(range(len(paths)))
    assert not any(batch.rejected for batch in batches)
    return np.concatenate([batch.vectors for batch in batches])


def reds(batches: Sequence[extraction.Batch]) -> dict[int, int]:
    """Position -> the red of the photo there."""
    return {
        int(index): round(float(vector[0]) * 255)
        for batch in batches
        for index, vector in zip(batch.indices, batch.vectors, strict=True)
    }


@pytest.mark.parametrize("count", [1, extraction.BATCH, extraction.BATCH + 1, 70])
def test_vectors_come_in_the_order_of_the_photos(
    mean_colour: Module, tmp_path: Path, count: int
) -> None:
    expected = [(number / 255, 100 / 255, 200 / 255) for number in range(count)]
    actual = vectors(shades(tmp_path, count), mean_colour)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_photos_come_a_batch_at_a_time(mean_colour: Module, tmp_path: Path) -> None:
    batches = extraction.extract(shades(tmp_path, 70), mean_colour, "float32")
    assert [len(batch.vectors) for batch in batches] == [32, 32, 6]


def test_equal_photos_give_equal_vectors_wherever_they_are(
    lite0: Module, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    photo = make_photo(tmp_path / "same.jpg", hue=1)
    others = [make_photo(tmp_path / f"{n}.jpg", seed=n) for n in range(extraction.BATCH + 1)]
    paths = [photo, *others[:20], photo, *others[20:], photo]
    found = vectors(paths, lite0)
    np.testing.assert_array_equal(found[21], found[0])
    np.testing.assert_array_equal(found[-1], found[0])
    assert not np.array_equal(found[1], found[0])


@pytest.mark.parametrize(
    "broken",
    [{0}, {3, 4}, {31}, {32}, {69}, {5, 68, 69}, set(range(30, 70)), set(range(40))],
    ids=str,
)
def test_broken_photos_are_rejected_and_the_others_unaffected(
    mean_colour: Module, tmp_path: Path, broken: set[int]
) -> None:
    paths = shades(tmp_path, 70)
    for number in broken:
        paths[number].write_bytes(b"not a photo")
    batches = list(extraction.extract(paths, mean_colour, "float32"))
    rejected = [number for batch in batches for number in batch.rejected]
    assert sorted(rejected) == sorted(broken)
    assert reds(batches) == {number: number for number in range(70) if number not in broken}


@pytest.mark.parametrize("count", [1, 40])
def test_photos_that_are_all_broken_are_all_rejected(
    mean_colour: Module, tmp_path: Path, count: int
) -> None:
    paths = shades(tmp_path, count)
    for path in paths:
        path.write_bytes(b"not a photo")
    (batch,) = extraction.extract(paths, mean_colour, "float32")
    assert sorted(batch.rejected) == list(range(count))
    assert batch.vectors.shape == (0, 3)
    assert batch.indices.shape == (0,)


@pytest.mark.parametrize("content", [b"", b"not a photo", "cut"], ids=["empty", "text", "cut"])
def test_a_rejection_gives_a_reason_and_a_remedy(
    mean_colour: Module, make_photo: PhotoMaker, tmp_path: Path, content: bytes | str
) -> None:
    photo = make_photo(tmp_path / "photo.jpg")
    photo.write_bytes(content if isinstance(content, bytes) else photo.read_bytes()[:300])
    (batch,) = extraction.extract([photo], mean_colour, "float32")
    reason = batch.rejected[0]
    assert reason.startswith("cannot be decoded (")
    assert reason.endswith("); replace it")


@pytest.mark.parametrize("gone", [0, 35, 69])
def test_a_photo_that_disappears_is_named(mean_colour: Module, tmp_path: Path, gone: int) -> None:
    paths = shades(tmp_path, 70)
    paths[gone].unlink()
    with pytest.raises(UserError) as caught:
        list(extraction.extract(paths, mean_colour, "float32"))
    assert str(caught.value).startswith(f"{paths[gone]} cannot be read any more")
    assert str(caught.value).endswith("run again")


def test_a_photo_for_which_the_module_fails_is_named(tmp_path: Path) -> None:
    directory = str(refusing_module(tmp_path / "module"))
    paths = shades(tmp_path, 70)
    Image.new("RGB", (8, 8), "white").save(paths[40])
    module = Module(directory, directory, "", 8, 8, 3)
    kept = []
    with pytest.raises(UserError, match=rf"{directory} raises an error for {paths[40]}: .*bright"):
        for batch in extraction.extract(paths, module, "float32"):
            kept.append(batch)  # noqa: PERF402 (a list would be lost)
    assert 0 in reds(kept)


def test_a_module_that_is_gone_is_reported(mean_colour: Module, tmp_path: Path) -> None:
    copy = shutil.copytree(mean_colour.directory, tmp_path / "copy")
    (copy / "saved_model.pb").unlink()
    module = Module(str(copy), str(copy), "0" * 64, SIZE, SIZE, 3)
    with pytest.raises(UserError, match="does not load as a SavedModel"):
        next(extraction.extract(shades(tmp_path, 1), module, "float32"))


@pytest.mark.slow
def test_bfloat16_vectors_are_close_and_float32_is_back_afterwards(lite0: Module) -> None:
    photos = [SAMPLES / "chelsea.png", SAMPLES / "coffee.png"]
    before = vectors(photos, lite0)
    rounded = vectors(photos, lite0, "bfloat16")
    after = vectors(photos, lite0)
    products = (before * rounded).sum(axis=1)
    cosines = products / np.linalg.norm(before, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosines.min() > 0.98
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("exhausted", [True, False])
@pytest.mark.parametrize(
    ("precision", "option"),
    [
        ("bfloat16", "auto_mixed_precision_onednn_bfloat16"),
        ("float16", "auto_mixed_precision"),
    ],
)
def test_the_option_for_a_lower_precision_is_off_afterwards(
    mean_colour: Module, tmp_path: Path, exhausted: bool, precision: str, option: str
) -> None:
    import tensorflow as tf

    batches = extraction.extract(shades(tmp_path, 40), mean_colour, precision)
    next(batches)
    assert tf.config.optimizer.get_experimental_options()[option] is True
    if exhausted:
        list(batches)
    else:
        batches.close()
    assert tf.config.optimizer.get_experimental_options()[option] is False


def test_the_reason_is_the_decoders_own(mean_colour: Module, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"not a photo")
    (batch,) = extraction.extract([tmp_path / "photo.jpg"], mean_colour, "float32")
    assert batch.rejected[0].startswith("cannot be decoded (Unknown image file format")
    assert "[Op:" not in batch.rejected[0]


def test_a_photo_is_not_set_aside_because_memory_ran_out(
    make_photo: PhotoMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    def decode(*_: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    photo = make_photo(tmp_path / "photo.jpg")
    monkeypatch.setattr(decoding, "decode", decode)
    with pytest.raises(UserError, match=r"out of memory while decoding .*photo\.jpg; free memory"):
        extraction.decode_error(photo, InputSpec(8, 8))


def test_no_photos_give_no_batches(mean_colour: Module) -> None:
    assert list(extraction.extract([], mean_colour, "float32")) == []
