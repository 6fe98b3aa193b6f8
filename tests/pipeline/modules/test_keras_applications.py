"""Keras applications by name: their weights, their preprocessing, and mistakes."""

import errno
import hashlib
import importlib
import os
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.files import download, locks
from pipeline.modules import (
    frozen_graph,
    keras_applications,
    keras_export,
    loading,
    names,
    preparation,
)
from pipeline.modules.keras_export import Facts
from pipeline.modules.loading import Module
from pipeline.progress import silent
from tests.support.keras_models import classifier, network, save_weights
from tests.support.web import Page, Web

pytestmark = pytest.mark.filterwarnings("ignore:__array__")  # Keras 3.15 with NumPy 2.4

SMALL = "MobileNetV3Small"  # 1 million weights without its classifier
SIZE = 32
FILE = "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, and no pauses between attempts to download."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(download, "_PAUSES", (0,))
    return tmp_path / "keras"


@pytest.fixture(scope="module")
def small() -> Any:
    return network(SMALL, SIZE)


@pytest.fixture(scope="module")
def weights(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_weights(small, tmp_path_factory.mktemp("weights") / "small.h5")


@pytest.fixture(scope="module")
def prepared(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Module:
    directory = tmp_path_factory.mktemp("modules")
    return preparation.prepare(f"keras:{SMALL}@{weights}", directory, SIZE)


@pytest.fixture
def origin(web: Web, weights: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve the weights in place of Keras's server; returns their address."""
    from keras.src.applications import mobilenet_v3

    checksum = hashlib.md5(weights.read_bytes()).hexdigest()
    monkeypatch.setattr(mobilenet_v3, "BASE_WEIGHT_PATH", f"{web.url}/")
    monkeypatch.setitem(mobilenet_v3.WEIGHTS_HASHES, "small_224_1.0_float", ("", checksum))
    return web.put(f"/{FILE}", weights.read_bytes())


def refusal(handle: str, module_dir: Path, image_size: int = SIZE, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        preparation.prepare(handle, module_dir, image_size, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def expected(name: str, model: Any, photos: np.ndarray) -> np.ndarray:
    application = getattr(keras_export.import_keras().applications, name)
    preprocess = importlib.import_module(application.__module__).preprocess_input
    vectors: np.ndarray = model(preprocess(photos * 255.0), training=False).numpy()
    return vectors


def assert_same(name: str, model: Any, module: Module, tmp_path: Path) -> None:
    """Check that a module returns a network's vectors, as a SavedModel and frozen."""
    size = module.height
    photos = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    wanted = expected(name, model, photos)
    assert (module.width, module.features, module.image_range) == (size, wanted.shape[1], "unit")
    frozen = frozen_graph.load(frozen_graph.freeze(module, tmp_path / "m.pb"), 2)
    assert frozen is not None
    tolerance = 1e-4 * np.abs(wanted).max()
    for call in (loading.load(module)[0], frozen):
        np.testing.assert_allclose(call(photos), wanted, rtol=1e-3, atol=tolerance)


def test_an_application_returns_its_networks_vectors(
    small: Any, prepared: Module, tmp_path: Path
) -> None:
    assert_same(SMALL, small, prepared, tmp_path)


@pytest.mark.slow
def test_preprocessing_is_part_of_the_module(tmp_path: Path) -> None:
    name = "VGG16"  # its pixels are shifted by mean colours; those above are not preprocessed
    model = network(name, SIZE)
    file = save_weights(model, tmp_path / "weights.h5")
    module = preparation.prepare(f"keras:{name}@{file}", tmp_path / "modules", SIZE)
    assert_same(name, model, module, tmp_path)


def test_sizes_are_those_that_keras_uses_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import imagenet_utils

    class FoundError(Exception):
        pass

    def found(*_: Any, default_size: int, **__: Any) -> None:
        raise FoundError(default_size)

    monkeypatch.setattr(imagenet_utils, "obtain_input_shape", found)
    keras = keras_export.import_keras()
    for name in names.applications():
        if not name.startswith("MobileNetV3"):  # which does not ask, and is 224
            with pytest.raises(FoundError) as caught:
                getattr(keras.applications, name)(weights=None)
            wanted = keras_applications._SIZES.get(name, keras_applications._SIZE)
            assert caught.value.args == (wanted,), name


@pytest.mark.usefixtures("origin")
def test_a_name_alone_downloads_the_weights(
    web: Web, prepared: Module, home: Path, tmp_path: Path
) -> None:
    steps: list[str] = []
    module = preparation.prepare(
        f"keras:{SMALL}", tmp_path, SIZE, progress=lambda *step: steps.append(step[2])
    )
    assert steps[0].endswith("no_top_v2.h5 downloaded")
    assert web.requests == [f"/{FILE}"]
    assert [path.name for path in (home / "models").iterdir()] == [FILE]
    assert module.digest == prepared.digest  # the same weights from a file are the same module
    assert preparation.prepare(f"keras:{SMALL}", tmp_path, SIZE) == module
    assert len(list(tmp_path.glob(f"{SMALL}-{SIZE}-*"))) == 1


def fetch(url: str, content: bytes) -> Path:
    """Fetch what the server has at a URL, as if it were weights with this content."""
    checksum = hashlib.sha256(content).hexdigest()
    return keras_applications._fetch("VGG16", "weights.h5", url, checksum, silent)


def test_weights_are_downloaded_once(web: Web, home: Path) -> None:
    url = web.put("/weights.h5", b"weights")
    for _ in range(2):
        assert fetch(url, b"weights") == home / "models/weights.h5"
    assert len(web.requests) == 1


def test_an_interrupted_download_resumes(web: Web) -> None:
    content = bytes(3_000_000)
    url = web.put("/weights.h5", Page(content, breaks=[2_000_000] * 3))
    with pytest.raises(UserError, match="was interrupted repeatedly"):
        fetch(url, content)
    web.ranges.clear()
    assert fetch(url, content).read_bytes() == content
    assert web.ranges == ["bytes=2000000-"]


def test_a_damaged_file_in_the_cache_is_downloaded_again(web: Web, home: Path) -> None:
    (home / "models").mkdir(parents=True)
    (home / "models/weights.h5").write_bytes(b"half")
    assert fetch(web.put("/weights.h5", b"weights"), b"weights").read_bytes() == b"weights"


def test_weights_with_another_checksum_are_refused(web: Web, home: Path) -> None:
    with pytest.raises(UserError, match="does not have the checksum that Keras expects"):
        fetch(web.put("/weights.h5", b"others"), b"weights")
    assert list((home / "models").iterdir()) == []


def test_weights_with_another_checksum_are_kept_until_there_are_the_right_ones(
    web: Web, home: Path
) -> None:
    mine = home / "models/weights.h5"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="the server answered 404") as caught:
        fetch(f"{web.url}/weights.h5", b"weights")
    assert str(caught.value).endswith(
        f"; {mine} does not have the checksum that Keras expects; to use it anyway, pass "
        f"keras:VGG16@{mine}"
    )
    with pytest.raises(UserError, match="to use it anyway"):
        fetch(web.put("/weights.h5", b"others"), b"weights")
    assert mine.read_bytes() == b"mine"


def test_a_folder_of_weights_may_be_read_only(
    web: Web, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = web.put("/weights.h5", b"weights")
    weights = fetch(url, b"weights")

    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(locks, "beside", denied)
    assert fetch(url, b"weights") == weights
    with pytest.raises(PermissionError, match=re.escape(str(home))):
        keras_applications._build(SMALL, SIZE, None, silent)


def test_the_file_to_download_is_called_as_on_the_server(web: Web) -> None:
    with pytest.raises(UserError, match=r"pass keras:NASNetLarge@/path/NASNet-no-top\.h5$"):
        keras_applications._fetch(
            "NASNetLarge", "nasnet_no_top.h5", f"{web.url}/NASNet-no-top.h5", "0" * 32, silent
        )


def test_weights_that_cannot_be_read_are_named(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import mobilenet_v3

    file_hash = hashlib.md5(b"half").hexdigest()
    monkeypatch.setattr(mobilenet_v3, "BASE_WEIGHT_PATH", f"{web.url}/")
    monkeypatch.setitem(mobilenet_v3.WEIGHTS_HASHES, "small_224_1.0_float", ("", file_hash))
    web.put(f"/{FILE}", b"half")
    with pytest.raises(UserError, match=rf"{FILE} cannot be read \(.*\); delete it, and run again"):
        keras_applications._build(SMALL, SIZE, None, silent)


def test_no_network_is_one_line_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/weights.h5"
    with pytest.raises(UserError) as caught:
        fetch(url, b"weights")
    assert str(caught.value) == (
        f"tfhub_module: {url} cannot be downloaded: the server does not answer; check the network, "
        "or try later, or download the file on another machine and pass "
        "keras:VGG16@/path/weights.h5"
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("efficientnetv2b0", "EfficientNetV2B0"), ("MobileNetV3Lrage", "MobileNetV3Large")],
)
def test_a_typing_mistake_gets_the_nearest_name(tmp_path: Path, typed: str, meant: str) -> None:
    message = refusal(f"keras:{typed}", tmp_path)
    start = (
        f"tfhub_module: Keras has no application {typed!r}; did you mean keras:{meant}? Keras's "
    )
    assert message.startswith(start)
    assert "ConvNeXtBase, ConvNeXtLarge" in message


def test_weights_with_the_classifier_are_recognized(origin: str, tmp_path: Path) -> None:
    application = getattr(keras_export.import_keras().applications, SMALL)
    whole = application(weights=None, input_shape=(SIZE, SIZE, 3), classes=3)
    file = save_weights(whole, tmp_path / "whole.h5")
    assert refusal(f"keras:{SMALL}@{file}", tmp_path).endswith(
        f"without its classifier: it probably has the classifier as well; save it with "
        f"include_top=False, or use {origin} instead"
    )


def test_another_weights_file_is_refused_with_the_right_one(origin: str, tmp_path: Path) -> None:
    old, new, text = (tmp_path / name for name in ("old.h5", "new.weights.h5", "text.h5"))
    save_weights(classifier(), old)
    classifier().save_weights(new)
    text.write_text("weights")
    for file, reason in (
        (old, "Layer count mismatch when loading weights from file"),
        (new, r"A total of \d+ objects could not be loaded"),
        (text, r"Unable to [^.:;]+"),
    ):
        assert re.fullmatch(
            f"tfhub_module: {file} does not contain the weights of {SMALL} without its "
            f"classifier: {reason}; use {origin} instead",
            refusal(f"keras:{SMALL}@{file}", tmp_path),
        )


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "no file follows the @"),
        ("none.h5", "there is no file none.h5"),
        ("/usr/", "/usr/ is a folder"),
    ],
)
def test_a_missing_weights_file_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    handle = f"keras:{SMALL}@{path}"
    assert refusal(handle, tmp_path) == (
        f"tfhub_module: {handle}: {problem}; pass keras:{SMALL}@/path/weights.h5, or only "
        f"keras:{SMALL} to download the weights"
    )


@pytest.mark.parametrize("handle", ["keras:", "keras:@/weights.h5"])
def test_a_missing_name_is_refused(tmp_path: Path, handle: str) -> None:
    assert refusal(handle, tmp_path) == (
        f"tfhub_module: {handle} names no application; pass a name as well, such as "
        "keras:EfficientNetV2B0"
    )


def test_a_size_that_a_network_does_not_take_is_refused(tmp_path: Path) -> None:
    message = refusal("keras:InceptionV3", tmp_path, 32)
    assert message.startswith("image_size is 32, which keras:InceptionV3 does not take: ")


def test_another_pixel_range_is_refused(prepared: Module) -> None:
    message = refusal(prepared.handle, Path(prepared.directory).parent, image_range="byte")
    assert message == (
        f"image_range is byte, but {prepared.handle} takes pixels in [0, 1]; set image_range to "
        "unit"
    )


def test_a_name_has_a_fingerprint_that_changes_with_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preparation.fingerprint(f"keras:{SMALL}")
    assert preparation.fingerprint(f"keras:{SMALL}") == before
    monkeypatch.setattr(keras_export, "version", lambda: "99.0")
    assert preparation.fingerprint(f"keras:{SMALL}") != before


def test_paths_show_the_name_of_the_application() -> None:
    assert preparation.short_name("keras:VGG16@/models/vgg.h5") == "keras_VGG16"


def test_a_damaged_copy_is_built_again(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = keras_export.import_keras()
    photos = keras.Input((8, 8, 3))  # built faster than a network
    model = keras.Model(photos, keras.layers.GlobalAveragePooling2D()(photos))
    monkeypatch.setattr(keras_applications, "_build", lambda *_: (model, Facts("0" * 64, "unit")))
    first = preparation.prepare(f"keras:{SMALL}@{weights}", tmp_path)
    for name in ("keras.json", "saved_model.pb"):
        Path(first.directory, name).write_bytes(b"half")
        assert preparation.prepare(first.handle, tmp_path) == first


def test_modules_by_name_are_kept_for_all_output_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    assert preparation.folder(f"keras:{SMALL}", tmp_path / "out") == tmp_path / "cache"
