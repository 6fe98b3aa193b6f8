"""Keras files: where they are cut, what they expect, and what is never loaded."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.modules import keras_export, keras_files, loading, preparation, provenance
from pipeline.modules.provenance import Provenance
from tests.support.keras_models import classifier, features, save_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras 3.15 with NumPy 2.4

PHOTOS = np.random.default_rng(0).random((3, 16, 16, 3), np.float32)
Models = Callable[[Any], Any]


@pytest.fixture(scope="module")
def model() -> Any:
    return classifier()


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "flowers.keras"
    model.save(path)
    return path


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def after(model: Any, layer: str) -> np.ndarray:
    """Return the output of a layer for `PHOTOS`."""
    keras = keras_export.import_keras()
    part = keras.Model(model.inputs[0], model.get_layer(layer).output)
    vectors: np.ndarray = part(PHOTOS * 255, training=False).numpy()
    return vectors


def refusal(handle: Path | str, module_dir: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        preparation.prepare(str(handle), module_dir, **{"image_range": "byte"} | options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_file_is_cut_after_its_pooling(model: Any, tmp_path: Path, suffix: str) -> None:
    path = saved(model, tmp_path / f"model{suffix}")
    module = preparation.prepare(str(path), tmp_path / "modules", image_range="byte")
    assert (module.height, module.width, module.features, module.output) == (16, 16, 6, "")
    assert module.image_range_known
    call, _ = loading.load(module)
    np.testing.assert_allclose(call(PHOTOS), after(model, "pool"), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("name", ["FLOWERS.KERAS", "a.h5", "a.hdf", "a.zip", "without"])
def test_a_file_is_told_by_its_content(file: Path, tmp_path: Path, name: str) -> None:
    copied = shutil.copy(file, tmp_path / name)
    module = preparation.prepare(str(copied), tmp_path / "modules", image_range="byte")
    assert module.features == 6
    assert preparation.fingerprint(str(copied)) != ""


@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_file_of_hdf5_may_be_called_keras(model: Any, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "model.h5").rename(tmp_path / "model.keras")
    assert preparation.prepare(str(path), tmp_path, image_range="byte").features == 6


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_of_mixed_precision_computes_in_float32(
    model: Any, tmp_path: Path, policy: str, suffix: str
) -> None:
    """TFLite and ONNX lack operations in other data types."""
    keras = keras_export.import_keras()
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.Input((16, 16, 3)), *features()], name="inner")
        mixed = keras.Sequential([keras.Input((16, 16, 3)), inner, keras.layers.Dense(3)])
    finally:
        keras.config.set_dtype_policy("float32")
    inner.set_weights(model.get_weights()[: len(inner.weights)])
    path = saved(mixed, tmp_path / f"model{suffix}")
    call, loaded = loading.load(preparation.prepare(str(path), tmp_path, image_range="byte"))
    graph = loaded.__call__.concrete_functions[0].graph
    types = {tensor.dtype.name for node in graph.get_operations() for tensor in node.outputs}
    assert types.isdisjoint({"float16", "bfloat16"})
    np.testing.assert_allclose(call(PHOTOS), after(model, "pool"), rtol=1e-4, atol=1e-5)


def test_another_layer_can_be_chosen(model: Any, file: Path, tmp_path: Path) -> None:
    options = {"image_range": "byte", "module_output": "hidden"}
    module = preparation.prepare(str(file), tmp_path, **options)
    assert (module.features, module.output) == (5, "hidden")
    call, _ = loading.load(module)
    np.testing.assert_allclose(call(PHOTOS), after(model, "hidden"), rtol=1e-4, atol=1e-5)
    # The same file has the same digest, and a folder of its own.
    pooled = preparation.prepare(str(file), tmp_path, image_range="byte")
    assert pooled.digest == module.digest
    assert pooled.directory != module.directory


def test_a_layer_that_does_not_exist_is_refused_with_others(file: Path, tmp_path: Path) -> None:
    assert refusal(file, tmp_path, module_output="x") == (
        f"tfhub_module: {file} has no layer 'x'; set module_output to the layer to use, such as "
        "pool, hidden"
    )
    message = refusal(file, tmp_path, module_output="norm")
    assert "(2, 7, 7, 6), not (2, features)" in message


def functional(kind: str) -> tuple[Any, str, int]:
    """Build a functional model; also the layer where it should be cut, and its width."""
    keras = keras_export.import_keras()
    layers = keras.layers
    photos = keras.Input((16, 16, 3))
    maps = layers.Conv2D(6, 3, name="maps")(photos)
    squeeze = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(maps)
    weighed = layers.Multiply(name="weigh")([maps, layers.Conv2D(6, 1)(squeeze)])
    if kind == "channel weights":  # a pooling in between, as in EfficientNet
        vector, name = layers.GlobalMaxPooling2D(name="pool")(weighed), "pool"
    elif kind == "convolutions behind":  # as in MobileNetV3, which flattens its classes
        pooled = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(maps)
        vector, name = layers.Flatten()(layers.Conv2D(4, 1)(layers.Dropout(0.5)(pooled))), "pool"
    elif kind == "flattened":
        vector, name = layers.Flatten(name="flat")(layers.MaxPooling2D(7)(weighed)), "flat"
    elif kind == "small photos":  # maps of one pixel before the pooling
        small = layers.Conv2D(6, 3, strides=9, padding="same")(layers.MaxPooling2D(14)(maps))
        vector, name = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU()(small)), "pool"
    else:  # a model in the model, which pools
        inner = keras.Sequential([keras.Input((16, 16, 3)), *features()], name="inner")
        return keras.Model(photos, layers.Dense(3)(inner(photos))), "inner", 6
    width = 24 if kind == "flattened" else 6
    return keras.Model(photos, layers.Dense(3)(vector)), name, width


KINDS = ["channel weights", "convolutions behind", "flattened", "small photos", "model in model"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_is_after_the_last_feature_map(kind: str) -> None:
    model, name, width = functional(kind)
    cut = keras_files._cut(model, Path("model.keras"), "")
    assert list(cut.output) == [name]
    assert cut.output[name].shape[-1] == width
    if kind != "model in model":
        whole = keras_export.import_keras().Model(model.inputs[0], model.get_layer(name).output)
        np.testing.assert_array_equal(cut(PHOTOS)[name], whole(PHOTOS))


@pytest.mark.parametrize("kind", ["maps", "several", "inside"])
def test_a_file_without_a_clear_pooling_is_refused(tmp_path: Path, kind: str) -> None:
    keras = keras_export.import_keras()
    layers = keras.layers
    photos = keras.Input((16, 16, 3))
    maps = layers.Conv2D(6, 3, name="maps")(photos)
    if kind == "maps":
        output = layers.ReLU(name="relu")(maps)
    elif kind == "several":
        pools = [
            layers.GlobalAveragePooling2D(name="mean")(maps),
            layers.GlobalMaxPooling2D(name="most")(layers.Conv2D(6, 3)(maps)),
        ]
        joined = layers.Concatenate(name="joined")(pools)
        output = layers.Dense(3, activation="softmax")(joined)
    else:
        output = classifier()(layers.Conv2D(3, 3, padding="same")(photos))
    model = keras.Model(photos, output)
    message = refusal(saved(model, tmp_path / "model.keras"), tmp_path)
    assert {
        "maps": "has no layer that pools or flattens its feature maps into a vector; add "
        "GlobalAveragePooling2D to the model, and save it again",
        "several": "has several layers that pool or flatten its feature maps into a vector; set "
        "module_output to the layer to use, such as mean, most, joined",
        "inside": f"pools inside its layer {model.layers[-1].name!r}, a model with a classifier; "
        "save that one, model.get_layer(",
    }[kind] in message
    assert "joined, " not in message  # the probabilities are no features
    if kind == "several":
        module = preparation.prepare(
            str(tmp_path / "model.keras"), tmp_path, image_range="byte", module_output="joined"
        )
        assert module.features == 12


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_refused_and_never_run(tmp_path: Path, suffix: str) -> None:
    keras = keras_export.import_keras()
    ran = tmp_path / "ran"
    code = f"lambda x: __import__('pathlib').Path({str(ran)!r}).touch() or x"
    layer = keras.layers.Lambda(eval(code), name="half")
    inner = keras.Sequential([keras.Input((16, 16, 3)), layer])
    model = keras.Sequential([keras.Input((16, 16, 3)), inner, *features()])
    path = saved(model, tmp_path / f"model{suffix}")
    ran.unlink()
    message = refusal(path, tmp_path)
    assert message.startswith(f"tfhub_module: {path} contains the Lambda layer 'half', which is ")
    assert "Replace it by a standard layer such as Rescaling; or, if you trust the file" in message
    assert not ran.exists()
    if suffix == ".h5":  # also if the end of the file is another file, without such a layer
        with zipfile.ZipFile(path, "a") as archive:
            for name in ("config.json", "metadata.json"):
                archive.writestr(name, "{}")
        assert "contains the Lambda layer 'half'" in refusal(path, tmp_path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ({"class_name": "__lambda__", "config": {"value": ["", None, None]}}, "lambda"),
        ({"module": "os", "class_name": "function", "config": "system"}, "system"),
    ],
)
def test_safe_mode_stays_on_for_other_code(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: dict[str, Any], reason: str
) -> None:
    """A function, as code or by name, can also be hidden in other layers, as their activation."""
    ran = list[object]()
    monkeypatch.setattr("os.system", ran.append)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    (layer,) = (part for part in config["config"]["layers"] if part["class_name"] == "Conv2D")
    layer["config"]["activation"] = code | {"registered_name": "function"}
    changed = tmp_path / "changed.keras"
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    message = refusal(changed, tmp_path)
    assert f"{changed} cannot be loaded (" in message
    assert reason in message
    assert ran == []


@pytest.mark.filterwarnings("ignore:You are saving")
def test_layers_of_the_users_own_are_refused_with_the_remedy(tmp_path: Path) -> None:
    keras = keras_export.import_keras()

    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    model = keras.Sequential([keras.Input((16, 16, 3)), Own(), *features()])
    message = refusal(saved(model, tmp_path / "model.keras"), tmp_path)
    assert "cannot be loaded (" in message
    assert message.endswith(
        "if it contains layers of your own, export it with model.export(folder) where their code "
        "is, and pass that folder"
    )


@pytest.mark.filterwarnings("ignore:You are saving")
def test_an_operation_in_an_old_file_is_refused_with_the_remedy(tmp_path: Path) -> None:
    keras = keras_export.import_keras()
    photos = keras.Input((16, 16, 3))
    model = keras.Model(photos, keras.layers.GlobalAveragePooling2D()(photos / 255.0))
    path = saved(model, tmp_path / "model.h5")
    assert refusal(path, tmp_path) == (
        f"tfhub_module: {path} contains the operation TrueDivide, which files of the format .h5 do "
        "not restore; save the model as .keras, or export it with model.export(folder) where it "
        "was saved, and pass that folder"
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_images_without_colours_are_refused_before_their_range(
    tmp_path: Path, channels: int
) -> None:
    keras = keras_export.import_keras()
    model = keras.Sequential([keras.Input((16, 16, channels)), *features()])
    message = refusal(saved(model, tmp_path / "model.keras"), tmp_path, image_range="unit")
    assert f"it takes images of {channels} channels; use a module for colour photos" in message


def test_weights_alone_are_refused(model: Any, tmp_path: Path) -> None:
    path = save_weights(model, tmp_path / "weights.h5")
    assert (
        "weights.h5 contains weights, but no model; save the model with model.save(file), or "
        in (refusal(path, tmp_path))
    )


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_another_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    assert f"{name} is not a Keras file, or is damaged" in refusal(tmp_path / name, tmp_path)
    assert f"there is no file {tmp_path}/no.keras" in refusal(tmp_path / "no.keras", tmp_path)


def test_a_range_that_its_first_layer_contradicts_is_refused(file: Path, tmp_path: Path) -> None:
    for _ in range(2):  # also if the file is exported already
        assert refusal(file, tmp_path, image_range="unit") == (
            f"image_range is unit, but {file} takes pixels in [0, 255]; set image_range to byte"
        )


@pytest.mark.parametrize(
    ("scale", "offset", "image_range"),
    [
        (1 / 255, 0, "byte"),
        (1 / 256, 0, "byte"),
        (1 / 127.5, -1, "byte"),
        (1 / 128, -1, "byte"),  # EfficientNetV2S
        (0.5, 0.5, "signed"),
        (127.5, 127.5, "signed"),
        (255, 0, "unit"),
        (2, -1, "unit"),
        (1, 0, ""),
        (0.01, 0, ""),
        (1 / 255, -0.5, ""),
        ([0.017, 0.018, 0.017], 0, ""),
        (1 / 255, [-0.5, -0.4, -0.4], ""),
    ],
)
def test_a_rescaling_that_turns_one_range_into_another_tells_the_range(
    scale: Any, offset: Any, image_range: str
) -> None:
    keras = keras_export.import_keras()
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(scale, offset)]
    assert keras_files._image_range(keras.Sequential(layers)) == image_range


def test_the_range_is_unknown_if_the_rescaling_is_not_the_first_to_change_pixels() -> None:
    keras = keras_export.import_keras()
    layers = keras.layers
    photos = keras.Input((16, 16, 3))

    def model(*steps: Any) -> Any:
        return keras.Sequential([photos, *steps])

    convolution = layers.Conv2D(3, 3)
    nested = model(layers.Rescaling(1 / 127.5, -1), convolution)
    first = model(layers.RandomFlip(), layers.Resizing(16, 16), nested)
    assert keras_files._image_range(first) == "byte"
    assert keras_files._image_range(keras.Model(photos, nested(layers.RandomFlip()(photos)))) == (
        "byte"
    )
    assert keras_files._image_range(model(layers.Rescaling(255.0), nested)) == "unit"
    assert keras_files._image_range(model(convolution)) == ""
    assert keras_files._image_range(model(convolution, layers.Rescaling(1 / 255))) == ""
    assert keras_files._image_range(keras.Model(photos, nested(photos * 255.0))) == ""
    assert keras_files._image_range(model(layers.Normalization(mean=1, variance=1), nested)) == ""


def test_the_range_stays_known_after_fine_tuning(file: Path, tmp_path: Path) -> None:
    module = preparation.prepare(str(file), tmp_path, image_range="byte")
    tuned = shutil.copytree(module.directory, tmp_path / "tuned")
    origin = Provenance(str(file), 1, 9, "", 16, 16, module.image_range_known)
    provenance.write(origin, tuned)
    assert preparation.prepare(str(tuned), tmp_path, image_range="byte").image_range_known


def test_a_file_of_free_size_takes_the_users(tmp_path: Path) -> None:
    path = saved(classifier(size=None), tmp_path / "model.keras")
    assert "does not state its input size; set image_size" in refusal(path, tmp_path)
    module = preparation.prepare(str(path), tmp_path, 24, "byte")
    assert (module.height, module.width, module.features) == (24, 24, 6)
    assert "image_size is 9, but" in refusal(
        saved(classifier(), tmp_path / "fixed.keras"), tmp_path, image_size=9
    )


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    keras = keras_export.import_keras()
    photos = [keras.Input((16, 16, 3)), keras.Input((16, 16, 3))]
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(photos))
    path = saved(keras.Model(photos, pooled), tmp_path / "model.keras")
    assert "takes several inputs; save a model with the photos as its only" in (
        refusal(path, tmp_path)
    )


def test_the_fingerprint_follows_the_file(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.keras"
    copy.write_bytes(file.read_bytes())
    before = preparation.fingerprint(str(copy))
    assert preparation.fingerprint(str(copy)) == before
    copy.write_bytes(file.read_bytes() + b" ")
    assert preparation.fingerprint(str(copy)) != before
    copy.unlink()
    with pytest.raises(UserError, match="there is no file"):
        preparation.fingerprint(str(copy))
