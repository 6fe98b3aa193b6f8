"""From a handle to a module that is ready to use, or to a message that helps."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline import efficientnet_lite, modules, quiet
from pipeline.errors import UserError
from pipeline.modules import Module

LITE0 = "efficientnet-lite0"
Saver = Callable[..., Path]


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Saver:
    """Save a module of four features a photo, or what `function` makes of its images."""
    quiet.import_tensorflow()
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
        modules.prepare(str(handle), module_dir, image_size)
    return str(caught.value)


@pytest.mark.parametrize("image_size", [0, 8])
def test_a_module_tells_its_size_and_its_width(
    plain: Path, tmp_path: Path, image_size: int
) -> None:
    module = modules.prepare(str(plain), tmp_path, image_size)
    assert (module.height, module.width, module.features) == (8, 8, 4)
    assert module.handle == module.directory == str(plain)


def test_height_and_width_are_not_mixed_up(save: Saver, tmp_path: Path) -> None:
    directory = save(size=(None, 6, 10, 3))
    module = modules.prepare(str(directory), tmp_path)
    assert (module.height, module.width) == (6, 10)
    for image_size in (6, 10):
        assert "6 x 10 pixels" in refusal(directory, tmp_path, image_size)


def test_a_relative_handle_gets_an_absolute_directory(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plain.parent)
    module = modules.prepare(plain.name, tmp_path)
    assert module.handle == plain.name
    assert module.directory == str(plain)


def test_a_module_with_nothing_but_a_serving_signature_works(save: Saver, tmp_path: Path) -> None:
    import tensorflow as tf

    directory = save(call=False)
    module = modules.prepare(str(directory), tmp_path)
    assert (module.height, module.width, module.features) == (8, 8, 4)
    call, _ = modules.load(directory)
    assert call(tf.ones([2, 8, 8, 3])).numpy().tolist() == [[6.0] * 4] * 2


def test_a_called_module_gives_its_features(plain: Path) -> None:
    import tensorflow as tf

    call, holder = modules.load(plain)
    assert call(tf.ones([2, 8, 8, 3])).numpy().tolist() == [[6.0] * 4] * 2
    assert holder.weights.shape == (3, 4)


def test_a_module_that_can_be_used_in_no_way_is_refused(save: Saver, tmp_path: Path) -> None:
    directory = save(call=False, signature=False)
    message = refusal(directory, tmp_path, 8)
    assert str(directory) in message
    assert "image feature vector" in message


def test_a_module_of_free_size_takes_the_size_of_the_user(save: Saver, tmp_path: Path) -> None:
    module = modules.prepare(str(save(size=(None, None, None, 3))), tmp_path, image_size=12)
    assert (module.height, module.width, module.features) == (12, 12, 4)


def test_a_module_of_free_size_needs_a_size(save: Saver, tmp_path: Path) -> None:
    directory = save(size=(None, None, None, 3))
    assert f"{directory} does not say" in (message := refusal(directory, tmp_path))
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
    assert "(2, 2, 2, 4), not [2, features]" in message


def test_a_copy_has_the_same_digest(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    digests = {modules.prepare(str(path), tmp_path).digest for path in (plain, copy)}
    assert len(digests) == 1


def test_another_variable_gives_another_digest(save: Saver, plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    shutil.copytree(save(weight=3.0) / "variables", copy / "variables", dirs_exist_ok=True)
    digests = {modules.prepare(str(path), tmp_path).digest for path in (plain, copy)}
    assert len(digests) == 2


def test_a_renamed_file_gives_another_digest(plain: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(plain, tmp_path / name) for name in ("one", "two")]
    for copy, name in zip(copies, ("a.txt", "b.txt"), strict=True):
        (copy / name).write_text("labels")
    digests = {modules.prepare(str(path), tmp_path).digest for path in copies}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("made", "reason"), [(False, "is no folder"), (True, "holds no saved_model.pb")]
)
def test_a_handle_that_stands_for_nothing_is_refused(
    tmp_path: Path, made: bool, reason: str
) -> None:
    handle = tmp_path / "module"
    if made:
        handle.mkdir()
    message = refusal(handle, tmp_path)
    assert f"{handle} is no built-in module and {reason}" in message
    assert f"give one of {LITE0}," in message
    with pytest.raises(UserError, match=reason):
        modules.stamp(str(handle))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"], ids=["empty", "a web page"])
def test_a_saved_model_that_is_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert f"{tmp_path} does not load as a TensorFlow 2 SavedModel" in refusal(tmp_path, tmp_path)


def test_a_saved_model_without_its_variables_is_refused(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    shutil.rmtree(copy / "variables")
    assert f"{copy} does not load as a TensorFlow 2 SavedModel" in refusal(copy, tmp_path)


@pytest.mark.filterwarnings("ignore:.*pkg_resources:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*pkg_resources:UserWarning")
def test_a_server_that_does_not_answer_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    message = refusal("http://127.0.0.1:9/x/1", tmp_path)
    assert "http://127.0.0.1:9/x/1 cannot be fetched" in message
    assert "Check the handle and the network" in message


def test_a_stamp_stays_while_nothing_changes(plain: Path) -> None:
    assert modules.stamp(str(plain)) == modules.stamp(str(plain))


def test_a_stamp_changes_when_a_file_is_touched(plain: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(plain, tmp_path / "copy")
    before = modules.stamp(str(copy))
    os.utime(next((copy / "variables").iterdir()), ns=(0, 10**9))
    assert modules.stamp(str(copy)) != before


def test_a_stamp_of_a_built_in_module_changes_with_the_way_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = modules.stamp(LITE0)
    monkeypatch.setattr(efficientnet_lite, "BUILDER", efficientnet_lite.BUILDER + 1)
    assert modules.stamp(LITE0) != before


def test_handles_have_stamps_of_their_own() -> None:
    handles = [*efficientnet_lite.VARIANTS, "https://tfhub.dev/a/1", "https://tfhub.dev/a/2"]
    assert len({modules.stamp(handle) for handle in handles}) == 5


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
    assert modules.short_name(handle) == name


def test_what_is_known_of_a_module_survives_a_file(tmp_path: Path) -> None:
    module = Module("a/b/1", "/models/b", "0" * 64, 6, 10, 4)
    modules.write(module, tmp_path / "new" / "module.json")
    assert modules.read(tmp_path / "new" / "module.json") == module


def test_a_built_in_module_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = modules.prepare(LITE0, tmp_path)
    saved = Path(first.directory, "saved_model.pb")
    before = saved.stat().st_mtime_ns
    monkeypatch.delattr(efficientnet_lite, "save")
    assert modules.prepare(LITE0, tmp_path) == first
    assert saved.stat().st_mtime_ns == before
    assert (first.height, first.width, first.features) == (224, 224, 1280)
    assert [path.name for path in tmp_path.iterdir()] == [f"{LITE0}-{first.digest[:12]}"]


def test_a_signature_of_two_inputs_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    specs = [tf.TensorSpec([None, 8, 8, 3], tf.float32, name=name) for name in ("a", "b")]
    module.f = tf.function(lambda a, b: {"out": tf.reduce_mean(a + b, [1, 2])}, specs)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.f)
    assert "one input and output" in refusal(tmp_path / "m", tmp_path)


def test_a_module_for_single_photos_is_refused(save: Saver, tmp_path: Path) -> None:
    refusal(save(size=(1, 8, 8, 3)), tmp_path)
