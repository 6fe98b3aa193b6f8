"""TFLite files: kinds, labels inside, and answers as those of the SavedModel."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.export import model_json, runtimes, tflite
from pipeline.photos import manifest
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec
from tests.support.store import Store

LABELS = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("none", ()),
        ("", ()),
        ("int8", ("int8",)),
        ("float32, int8", ("float32", "int8")),
        ("int8,int8", ("int8",)),
    ],
)
def test_kinds_are_read_from_an_option(text: str, kinds: tuple[str, ...]) -> None:
    assert tflite.parse(text) == kinds


def test_another_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'int4'; choose none, or any of float32, float16, int8"):
        tflite.parse("int4")


@pytest.fixture(params=tflite.KINDS)
def written(request: pytest.FixtureRequest, colours: Path, store: Store, tmp_path: Path) -> Path:
    """A TFLite file, in a copy of the model's folder."""
    model = shutil.copytree(colours, tmp_path / "model")
    store.summary()
    photos = manifest.read(store.path / "manifest.parquet")
    tflite.write(model, request.param, LABELS, InputSpec(8, 8), store.image_dir, photos)
    return model / f"model-{request.param}.tflite"


def test_it_answers_as_the_saved_model(written: Path, store: Store) -> None:
    photos = sorted(store.image_dir.glob("*/*.jpg"))[::6]
    pixels = np.stack([decoding.decode(photo.read_bytes(), InputSpec(8, 8)) for photo in photos])
    answers = runtimes.tflite(written)(pixels)
    expected = runtimes.saved_model(written.parent / "saved_model")(pixels)
    assert answers.shape == (8, 3)
    np.testing.assert_allclose(answers, expected, atol=0.03 if "int8" in written.name else 1e-3)


def test_the_labels_are_an_archive_at_its_end(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)


def test_equal_models_give_equal_files_without_messages(
    colours: Path, store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store.summary()
    photos = manifest.read(store.path / "manifest.parquet")
    digests = []
    for name in ("first", "second"):
        model = shutil.copytree(colours, tmp_path / name)
        tflite.write(model, "int8", LABELS, InputSpec(8, 8), store.image_dir, photos)
        digests.append(model_json.files(model)["model-int8.tflite"])
    assert digests[0] == digests[1]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_what_tflite_lacks_is_one_line_with_the_remedy(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32, "image")

    def call(image: Any) -> Any:
        return {"prediction": tf.cast(tf.cast(image, tf.bfloat16) * 255, tf.float32)}

    module.pixels = tf.function(call, [spec], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "saved_model"), {"pixels": module.pixels})
    store.summary()
    photos = manifest.read(store.path / "manifest.parquet")
    with pytest.raises(UserError) as caught:
        tflite.write(tmp_path, kind, LABELS, InputSpec(8, 8), store.image_dir, photos)
    message = str(caught.value)
    assert message.startswith(
        "tflite: the model cannot be converted (the format lacks operations of the module, or "
        "their data type: Mul); leave out --tflite, or use another module. One that computes in "
        "float16 or bfloat16 must be saved in float32."
    )
    assert "\n" not in message
    assert capfd.readouterr().err == ""
