"""From a handle to a module that is ready to use, or to a message that helps."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.modules import efficientnet_lite, loading, preparation
from pipeline.modules.loading import Module
from pipeline.progress import silent
from tests.support.saved_modules import Tensors, packed, tf1_module
from tests.support.web import Page, Web

LITE0 = "efficientnet-lite0"
Saver = Callable[..., Path]


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Saver:
    """Save a module of four features a photo, or what `function` makes of its images."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    def to_directory(
        function: Callable[[Any, Any], Any] | None = None,
        size: tuple[int | None, ...] = (None, 8, 8, 3),
        call: bool = True,
        signature: bool = True,
        weight: float = 2.0,
    ) -> Path:
        apply = function or (lambda images, weights: tf.reduce_mean(images, [1, 2]) @ weights)
        module = tf.Module()
        module.weights = tf.Variable(tf.fill([3, 4], weight))
        spec = tf.TensorSpec(size, tf.float32, name="inputs")
        traced = tf.function(lambda images: apply(images, module.weights), [spec])
        if call:
            module.__call__ = traced
        more = {"only through the signature": tf.constant(0.0)} if call else {}
        served = tf.function(lambda images: {"features": traced(images), **more}, [spec])
        directory = tmp_path_factory.mktemp("module")
        tf.saved_model.save(module, str(directory), signatures=served if signature else None)
        return directory

    return to_directory


@pytest.fixture(scope="module")
def plain(save: Saver) -> Path:
    return save()


def refusal(handle: str | Path, module_dir: Path, image_size: int = 0) -> str:
    with pytest.raises(UserError) as caught:
        preparation.prepare(str(handle), module_dir, image_size)
    return str(caught.value)


@pytest.mark.parametrize("image_size", [0, 8])
def test_a_module_tells_its_size_and_its_width(
    plain: Path, tmp_path: Path, image_size: int
) -> None:
    module = preparation.prepare(str(plain), tmp_path, image_size)
    assert (module.height, module.width, module.features) == (8, 8, 4)
    assert module.handle == module.directory == str(plain)


def test_height_and_width_are_not_mixed_up(save: Saver, tmp_path: Path) -> None:
    directory = save(size=(None, 6, 10, 3))
    module = preparation.prepare(str(directory), tmp_path)
    assert (module.height, module.width) == (6, 10)
    for image_size in (6, 10):
        assert "6 x 10 pixels" in refusal(directory, tmp_path, image_size)


def test_a_relative_handle_gets_an_absolute_directory(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plain.parent)
    module = preparation.prepare(plain.name, tmp_path)
    assert module.handle == plain.name
    assert module.directory == str(plain)


def test_a_module_with_nothing_but_a_serving_signature_works(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(call=False)
    module = preparation.prepare(str(directory), tmp_path)
    assert (module.height, module.width, module.features) == (8, 8, 4)
    call, _ = loading.load(module)
    assert call(tf.ones([2, 8, 8, 3])).numpy().tolist() == [[6.0] * 4] * 2


def test_a_called_module_gives_its_features(plain: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    call, holder = loading.load(preparation.prepare(str(plain), tmp_path))
    assert call(tf.ones([2, 8, 8, 3])).numpy().tolist() == [[6.0] * 4] * 2
    assert holder.weights.shape == (3, 4)


def test_a_module_that_can_be_used_in_no_way_is_refused(save: Saver, tmp_path: Path) -> None:
    directory = save(call=False, signature=False)
    message = refusal(directory, tmp_path, 8)
    assert str(directory) in message
    assert "it has no signature; export it as a SavedModel again" in message


def test_a_module_of_free_size_takes_the_size_of_the_user(save: Saver, tmp_path: Path) -> None:
    module = preparation.prepare(str(save(size=(None, None, None, 3))), tmp_path, image_size=12)
    assert (module.height, module.width, module.features) == (12, 12, 4)


def test_a_module_of_free_size_needs_a_size(save: Saver, tmp_path: Path) -> None:
    directory = save(size=(None, None, None, 3))
    assert f"{directory} does not state its input size" in (message := refusal(directory, tmp_path))
    assert "set image_size" in message


def test_a_size_that_contradicts_the_module_is_refused(plain: Path, tmp_path: Path) -> None:
    message = refusal(plain, tmp_path, 9)
    assert f"image_size is 9, but {plain} takes 8 x 8 pixels" in message
    assert "leave image_size at 0" in message


def test_a_module_that_gives_maps_of_features_is_refused(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda images, weights: tf.nn.avg_pool2d(images, 4, 4, "SAME") @ weights)
    message = refusal(directory, tmp_path)
    assert str(directory) in message
    assert "(2, 2, 2, 4), not (2, features)" in message


def test_a_copy_has_the_same_digest(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    digests = {preparation.prepare(str(path), tmp_path).digest for path in (plain, copy)}
    assert len(digests) == 1


def test_another_variable_gives_another_digest(save: Saver, plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    shutil.copytree(save(weight=3.0) / "variables", copy / "variables", dirs_exist_ok=True)
    digests = {preparation.prepare(str(path), tmp_path).digest for path in (plain, copy)}
    assert len(digests) == 2


def test_a_renamed_file_gives_another_digest(plain: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(plain, tmp_path / name) for name in ("one", "two")]
    for copy, name in zip(copies, ("a.txt", "b.txt"), strict=True):
        (copy / name).write_text("labels")
    digests = {preparation.prepare(str(path), tmp_path).digest for path in copies}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (False, "is neither a built-in module nor a file or folder"),
        (True, "contains no saved_model.pb"),
    ],
)
def test_a_handle_that_stands_for_nothing_is_refused(
    tmp_path: Path, made: bool, reason: str
) -> None:
    handle = tmp_path / "module"
    if made:
        handle.mkdir()
    message = refusal(handle, tmp_path)
    assert f"{handle} {reason}; pass a built-in name such as {LITE0}," in message
    with pytest.raises(UserError, match=reason):
        preparation.fingerprint(str(handle))


def test_a_mistyped_name_is_refused_with_the_nearest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "tfhub_module: {} is neither a built-in module nor a file or folder; did you mean {}?"
    for typed, meant in (("efficientnet_lite0", LITE0), ("VGG16@w.h5", "keras:VGG16@w.h5")):
        assert refusal(Path(typed), tmp_path) == message.format(typed, meant)
    monkeypatch.chdir(tmp_path)
    Path("VGG16").mkdir()
    assert "VGG16 contains no saved_model.pb" in refusal(Path("VGG16"), tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"], ids=["empty", "a web page"])
def test_a_saved_model_that_is_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert f"{tmp_path} does not load as a SavedModel" in refusal(tmp_path, tmp_path)


def test_a_saved_model_without_its_variables_is_refused(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    shutil.rmtree(copy / "variables")
    assert f"{copy} does not load as a SavedModel" in refusal(copy, tmp_path)


def test_a_stamp_stays_while_nothing_changes(plain: Path) -> None:
    assert preparation.fingerprint(str(plain)) == preparation.fingerprint(str(plain))


def test_a_stamp_changes_when_a_file_is_touched(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    before = preparation.fingerprint(str(copy))
    os.utime(next((copy / "variables").iterdir()), ns=(0, 10**9))
    assert preparation.fingerprint(str(copy)) != before


def test_a_stamp_of_a_built_in_module_changes_with_the_way_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = preparation.fingerprint(LITE0)
    monkeypatch.setattr(efficientnet_lite, "BUILDER", efficientnet_lite.BUILDER + 1)
    assert preparation.fingerprint(LITE0) != before


def test_handles_have_stamps_of_their_own() -> None:
    handles = [*efficientnet_lite.VARIANTS, "https://tfhub.dev/a/1", "https://tfhub.dev/a/2"]
    assert len({preparation.fingerprint(handle) for handle in handles}) == 5


@pytest.mark.parametrize(
    ("handle", "name"),
    [
        ("https://tfhub.dev/google/imagenet/inception_v3/feature_vector/1", "feature_vector"),
        (LITE0, LITE0),
        ("/models/my module/", "my_module"),
        ("models/flowers/3", "flowers"),
        ("7", "7"),
    ],
)
def test_a_short_name_is_the_last_part_that_says_something(handle: str, name: str) -> None:
    assert preparation.short_name(handle) == name


def test_what_is_known_of_a_module_survives_a_file(tmp_path: Path) -> None:
    module = Module("a/b/1", "/models/b", "0" * 64, 6, 10, 4)
    loading.write(module, tmp_path / "new" / "module.json")
    assert loading.read(tmp_path / "new" / "module.json") == module


@pytest.mark.slow
def test_a_built_in_module_is_built_once(lite0: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Path(lite0.directory, "saved_model.pb")
    before = saved.stat().st_mtime_ns
    monkeypatch.delattr(efficientnet_lite, "save")
    folder = saved.parents[1]
    assert preparation.prepare(LITE0, folder) == lite0
    assert saved.stat().st_mtime_ns == before
    assert (lite0.height, lite0.width, lite0.features) == (224, 224, 1280)
    assert [path.name for path in folder.iterdir()] == [f"{LITE0}-224-{lite0.digest[:12]}"]


def test_a_built_in_module_that_another_process_has_built_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / f"{LITE0}-224-{efficientnet_lite.digest(LITE0)[:12]}"

    def save(_: str, temporary: Path, _size: int) -> None:
        for folder in (temporary, directory):
            folder.mkdir()
        (directory / "being read").touch()

    monkeypatch.setattr(efficientnet_lite, "save", save)
    assert preparation._resolve(LITE0, tmp_path, silent) == directory
    assert [path.name for path in directory.iterdir()] == ["being read"]


def test_a_signature_of_two_inputs_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    specs = [tf.TensorSpec([None, 8, 8, 3], tf.float32, name=name) for name in ("a", "b")]
    module.f = tf.function(lambda a, b: {"out": tf.reduce_mean(a + b, [1, 2])}, specs)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.f)
    assert "it takes several inputs; export it with" in refusal(tmp_path / "m", tmp_path)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((None, 3, 8, 8), "it takes [None, 3, 8, 8], with channels first; export it with"),
        ((None, 8, 8, 1), "it takes images of 1 channels; use a module for colour photos"),
        ((None, 192), "it takes float32 [None, 192]; use a module that takes [batch, height,"),
    ],
)
def test_a_module_for_other_pixels_is_refused_with_the_shape_that_it_takes(
    save: Saver, tmp_path: Path, shape: tuple[int | None, ...], reason: str
) -> None:
    import tensorflow as tf

    directory = save(lambda images, _: tf.reduce_mean(images, -1), shape)
    assert reason in refusal(directory, tmp_path)


@pytest.mark.parametrize("batch", [1, 5])
def test_a_module_for_so_many_photos_at_a_time_takes_any_number(
    save: Saver, tmp_path: Path, batch: int
) -> None:
    import tensorflow as tf

    directory = save(lambda images, _: tf.reduce_mean(images, [1, 2]), (batch, 8, 8, 3))
    module = preparation.prepare(str(directory), tmp_path)
    assert (module.height, module.features) == (8, 3)
    call, _ = loading.load(module)
    photos = tf.random.stateless_uniform([13, 8, 8, 3], [0, 0])
    expected = tf.reduce_mean(photos, [1, 2]).numpy()
    free = tf.function(call, [tf.TensorSpec([None, 8, 8, 3])])
    for count in (1, batch, 13):
        for function in (call, free):
            np.testing.assert_allclose(function(photos[:count]), expected[:count], rtol=1e-5)
    assert free(photos[:0]).shape == (0, 3)


def test_features_with_two_sides_of_one_pixel_are_flattened(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda images, weights: tf.reduce_mean(images, [1, 2], True) @ weights)
    module = preparation.prepare(str(directory), tmp_path)
    call, _ = loading.load(module)
    assert call(tf.ones([3, 8, 8, 3])).shape == (3, module.features) == (3, 4)


def test_features_of_half_precision_come_out_as_float32(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda images, _: tf.cast(tf.reduce_mean(images, [1, 2]), tf.float16))
    call, _ = loading.load(preparation.prepare(str(directory), tmp_path))
    assert call(tf.ones([2, 8, 8, 3])).dtype == tf.float32


def test_the_feature_vector_is_taken_out_of_several_outputs(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    def several(images: Any, weights: Any) -> dict[str, Any]:
        mean = tf.reduce_mean(images, [1, 2])
        return {"default": mean @ weights, "endpoint": mean}

    directory = save(several, signature=False)
    assert preparation.prepare(str(directory), tmp_path).features == 4


def test_outputs_without_a_default_are_named(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda x, _: {"a": tf.reduce_mean(x, [1, 2]), "b": x}, signature=False)
    message = refusal(directory, tmp_path)
    assert "it returns several outputs: a (2, 3), b (2, 8, 8, 3); set module_output" in message
    with pytest.raises(UserError, match="it has no output 'c' but a "):
        preparation.prepare(str(directory), tmp_path, module_output="c")


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_an_output_can_be_chosen(save: Saver, tmp_path: Path, kind: str) -> None:
    import tensorflow as tf

    def several(images: Any, weights: Any) -> Any:
        mean = tf.reduce_mean(images, [1, 2])
        outputs = {"0": images, "1": mean @ weights, "2": mean}
        return outputs if kind == "dict" else list(outputs.values())

    directory = save(several, signature=False)
    for name, features in (("1", 4), ("2", 3)):
        module = preparation.prepare(str(directory), tmp_path, module_output=name)
        assert (module.features, module.output) == (features, name)
        assert loading.load(module)[0](tf.ones([5, 8, 8, 3])).shape == (5, features)


def test_labels_are_no_features(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda images, _: tf.cast(tf.reduce_mean(images, [1, 2]), tf.int32))
    assert "does not turn photos into feature vectors" in refusal(directory, tmp_path)


@pytest.mark.parametrize(
    ("image_range", "low", "high"), [("unit", 0, 1), ("signed", -1, 1), ("byte", 0, 255)]
)
def test_pixels_are_scaled_as_the_module_wants_them(
    save: Saver, tmp_path: Path, image_range: str, low: float, high: float
) -> None:
    import tensorflow as tf

    directory = save(lambda images, _: tf.reduce_mean(images, [1, 2]))
    module = preparation.prepare(str(directory), tmp_path, image_range=image_range)
    assert module.image_range == image_range
    call, _ = loading.load(module)
    assert call(tf.zeros([1, 8, 8, 3])).numpy().tolist() == [[low] * 3]
    assert call(tf.ones([1, 8, 8, 3])).numpy().tolist() == [[high] * 3]


def test_a_module_of_whole_numbers_needs_their_range(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.uint8)
    module.__call__ = tf.function(lambda x: tf.reduce_mean(tf.cast(x, tf.float32), [1, 2]), [spec])
    tf.saved_model.save(module, str(tmp_path / "m"))
    assert "takes integers up to 255; set image_range to byte" in refusal(tmp_path / "m", tmp_path)
    made = preparation.prepare(str(tmp_path / "m"), tmp_path, image_range="byte")
    call, _ = loading.load(made)
    assert call(tf.fill([1, 8, 8, 3], 200 / 255)).numpy().tolist() == [[200.0] * 3]


def test_a_module_in_the_format_of_tensorflow_1_works(tmp_path: Path) -> None:
    import tensorflow as tf

    module = preparation.prepare(str(tf1_module(tmp_path / "m")), tmp_path)
    assert (module.height, module.width, module.features) == (8, 8, 4)
    assert module.signature == "default"
    call, holder = loading.load(module)
    assert call(tf.ones([2, 8, 8, 3])).numpy().tolist() == [[3.0, 6.0, 9.0, 12.0]] * 2
    assert len(holder.variables) == 1


def test_missing_tensorflow_hub_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_hub", None)
    assert refusal(tf1_module(tmp_path / "m"), tmp_path) == (
        "tfhub_module: modules in the TensorFlow 1 Hub format need tensorflow-hub, which is not "
        "installed; install it with: pip install tensorflow-hub"
    )


def test_the_signature_for_feature_vectors_is_preferred(tmp_path: Path) -> None:
    signatures: dict[str, Tensors] = {
        "default": lambda x: {"default": x[:, :2]},
        "image_classification": lambda x: {"default": x[:, :1]},
        "image_feature_vector": lambda x: {"default": x, "an/endpoint": x[:, :3]},
    }
    module = preparation.prepare(str(tf1_module(tmp_path / "m", signatures=signatures)), tmp_path)
    assert (module.signature, module.features) == ("image_feature_vector", 4)


def test_a_signature_that_nobody_knows_is_taken_if_it_is_the_only_one(tmp_path: Path) -> None:
    signatures: dict[str, Tensors] = {"embed": lambda x: {"vector": x}}
    module = preparation.prepare(str(tf1_module(tmp_path / "m", signatures=signatures)), tmp_path)
    assert (module.signature, module.features) == ("embed", 4)


def test_the_image_module_information_tells_the_size(tmp_path: Path) -> None:
    directory = tf1_module(tmp_path / "m", (None, None, None, 3), stated=(299, 224))
    module = preparation.prepare(str(directory), tmp_path)
    assert (module.height, module.width) == (299, 224)
    module = preparation.prepare(str(directory), tmp_path, image_size=128)
    assert (module.height, module.width) == (128, 128)


def test_a_module_of_tensorflow_1_that_tells_no_size_needs_one(tmp_path: Path) -> None:
    directory = tf1_module(tmp_path / "m", (None, None, None, 3))
    assert "set image_size" in refusal(directory, tmp_path)


def test_a_graph_with_an_operation_that_is_not_there_names_it(tmp_path: Path) -> None:
    saved = tf1_module(tmp_path / "m") / "saved_model.pb"
    saved.write_bytes(saved.read_bytes().replace(b"MatMul", b"MatMal"))
    message = refusal(tmp_path / "m", tmp_path)
    assert "needs the operation MatMal, which TensorFlow 2." in message
    assert message.endswith("does not have; use another module")


@pytest.mark.parametrize("size", [8, None])
def test_a_model_that_keras_exported_works(tmp_path: Path, size: int | None) -> None:
    import keras
    import tensorflow as tf

    inputs = keras.Input((size, size, 3))
    norm = keras.layers.BatchNormalization()(keras.layers.Conv2D(5, 3)(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(norm))
    model.export(tmp_path / "m", verbose=False)
    photos = tf.random.stateless_uniform([3, 8, 8, 3], [0, 0])
    call, _ = loading.load(preparation.prepare(str(tmp_path / "m"), tmp_path, 8, "byte"))
    np.testing.assert_allclose(call(photos), model(photos * 255), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_keras_2_saved_works(tmp_path: Path) -> None:
    import tensorflow as tf
    import tf_keras

    model = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(5, 3, input_shape=(8, 8, 3)),
            tf_keras.layers.BatchNormalization(),
            tf_keras.layers.Dropout(0.5),
            tf_keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.save(tmp_path / "m", save_format="tf")
    photos = tf.random.stateless_uniform([3, 8, 8, 3], [0, 0])
    module = preparation.prepare(str(tmp_path / "m"), tmp_path)
    assert module.signature == ""
    call, _ = loading.load(module)
    np.testing.assert_allclose(call(photos), model(photos, training=False), rtol=1e-4, atol=1e-5)


def test_the_right_digest_is_accepted_and_another_refused(plain: Path, tmp_path: Path) -> None:
    digest = preparation.prepare(str(plain), tmp_path).digest
    assert preparation.prepare(str(plain), tmp_path, sha256=digest.upper()).digest == digest
    with pytest.raises(UserError) as caught:
        preparation.prepare(str(plain), tmp_path, sha256="0" * 64)
    assert f"the content of {plain} has the SHA-256 {digest}, but module_sha256 is 000" in str(
        caught.value
    )


@pytest.mark.slow
def test_a_built_in_module_states_its_licence(lite0: Module) -> None:
    assert lite0.licence == "Apache-2.0"


@pytest.fixture
def handle(web: Web, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The plain module on a hub."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    content = packed(plain, tmp_path / "plain.tgz").read_bytes()
    return web.put("/google/plain/1", Page(content, query="tf-hub-format=compressed"))


def test_a_module_from_a_hub_is_the_one_from_the_folder(
    handle: str, plain: Path, tmp_path: Path
) -> None:
    fetched = preparation.prepare(handle, tmp_path)
    folder = preparation.prepare(str(plain), tmp_path)
    assert fetched == replace(folder, handle=handle, directory=fetched.directory)
    assert loading.read(Path(f"{fetched.directory}.json")) == fetched


def test_a_module_from_an_archive_is_the_one_from_the_folder(plain: Path, tmp_path: Path) -> None:
    archived = preparation.prepare(str(packed(plain, tmp_path / "m.tgz")), tmp_path / "made")
    assert archived.digest == preparation.prepare(str(plain), tmp_path).digest


@pytest.mark.parametrize("damaged", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
@pytest.mark.parametrize("left", [b"", b"half", None])
def test_a_damaged_copy_in_the_cache_is_fetched_again(
    handle: str, tmp_path: Path, damaged: str, left: bytes | None
) -> None:
    first = preparation.prepare(handle, tmp_path)
    file = Path(first.directory, damaged)
    file.unlink() if left is None else file.write_bytes(left)
    assert preparation.prepare(handle, tmp_path) == first


def test_a_damaged_copy_that_cannot_be_fetched_again_is_reported(
    web: Web, handle: str, tmp_path: Path
) -> None:
    directory = Path(preparation.prepare(handle, tmp_path).directory)
    (directory / "saved_model.pb").write_bytes(b"half")
    web.pages.clear()
    message = refusal(handle, tmp_path)
    assert "the server answered 404" in message
    assert message.endswith(f"; the copy in {directory} is damaged")


@pytest.mark.slow
def test_a_damaged_built_in_module_is_built_again(lite0: Module, tmp_path: Path) -> None:
    directory = shutil.copytree(lite0.directory, tmp_path / Path(lite0.directory).name)
    (directory / "saved_model.pb").write_bytes(b"half")
    assert preparation.prepare(LITE0, tmp_path) == replace(lite0, directory=str(directory))


def test_the_stamp_of_a_remote_module_follows_what_is_in_the_cache(
    handle: str, tmp_path: Path
) -> None:
    stamps = [preparation.fingerprint(handle)]
    directory = preparation.prepare(handle, tmp_path).directory
    stamps.append(preparation.fingerprint(handle))
    assert preparation.fingerprint(handle) == stamps[-1]
    os.utime(Path(directory, "saved_model.pb"), ns=(0, 10**9))
    stamps.append(preparation.fingerprint(handle))
    assert len(set(stamps)) == 3


def test_the_stamp_of_an_archive_changes_with_it(plain: Path, tmp_path: Path) -> None:
    file = packed(plain, tmp_path / "m.tgz")
    before = preparation.fingerprint(str(file))
    os.utime(file, ns=(0, 10**9))
    assert preparation.fingerprint(str(file)) != before


def test_a_module_for_texts_is_refused_as_such(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string)
    module.__call__ = tf.function(lambda texts: tf.ones([tf.size(texts), 4]), [spec])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.__call__)
    assert "it takes strings; export it with pixels" in refusal(tmp_path / "m", tmp_path)


def test_channels_first_are_named_for_any_size(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(lambda x, _: tf.reduce_mean(x, [2, 3]), (None, 3, None, None))
    message = refusal(directory, tmp_path, 8)
    assert "it takes [None, 3, None, None], with channels first" in message


def test_an_output_inside_another_is_selected_by_its_path(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    def nested(images: Any, _: Any) -> dict[str, Any]:
        return {"blocks": [tf.reduce_mean(images, [1, 2]), images], "top": images[:, 0, 0, :2]}

    directory = save(nested, signature=False)
    assert "blocks/0 (2, 3), blocks/1 (2, 8, 8, 3), top (2, 2)" in refusal(directory, tmp_path)
    module = preparation.prepare(str(directory), tmp_path, module_output="blocks/0")
    assert (module.features, module.output) == (3, "blocks/0")


def test_a_built_in_module_with_another_range_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    monkeypatch.setattr(preparation, "_resolve", lambda *_, **__: plain)  # fast to load
    reason = rf"image_range is byte, but {LITE0} takes pixels in \[0, 1\]; set image_range to unit"
    with pytest.raises(UserError, match=reason):
        preparation.prepare(LITE0, tmp_path, image_range="byte")


@pytest.mark.slow
def test_a_built_in_module_takes_the_size_of_the_user(lite0: Module, tmp_path: Path) -> None:
    module = preparation.prepare(LITE0, tmp_path, image_size=64)
    assert (module.height, module.width, module.features) == (64, 64, 1280)
    assert module.digest == lite0.digest  # the recipe of vectors names the size
    (directory,) = tmp_path.iterdir()
    assert directory.name == f"{LITE0}-64-{lite0.digest[:12]}"
