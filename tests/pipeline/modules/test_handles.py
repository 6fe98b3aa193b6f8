"""From a handle to a folder: the hub protocol on a real server, archives, stores, and mistakes."""

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import download
from pipeline.modules import handles
from pipeline.modules.loading import Module
from tests.support.saved_modules import packed
from tests.support.web import Page, Web

CLASSIC = "https://tfhub.dev/google/imagenet/inception_v3/feature_vector/1"
COMPRESSED = "tf-hub-format=compressed"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSES", (0,))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a module, to all but TensorFlow."""
    (tmp_path / "module/variables").mkdir(parents=True)
    (tmp_path / "module/saved_model.pb").write_bytes(b"graph")
    (tmp_path / "module/variables/variables.index").write_bytes(b"index")
    return tmp_path / "module"


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> bytes:
    return packed(folder, tmp_path / "packed.tgz").read_bytes()


@pytest.fixture
def handle(web: Web, archive: bytes) -> str:
    """A module on a hub that shows people a page, and sends programs elsewhere for the archive."""
    web.put("/bucket/module.tar.gz", Page(archive))
    page = Page(status=302, location="/bucket/module.tar.gz?signed=1", query=COMPRESSED)
    return web.put("/google/imagenet/feature_vector/1", page)


def names(directory: Path) -> list[str]:
    return [path.relative_to(directory).as_posix() for path in handles.files_in(directory)]


MODULE = ["saved_model.pb", "variables/variables.index"]


def refusal(handle: object, module_dir: Path) -> str:
    with pytest.raises(UserError) as caught:
        handles.resolve(str(handle), module_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_taken_where_it_is(folder: Path, tmp_path: Path) -> None:
    assert handles.resolve(str(folder), tmp_path) == folder


def test_a_folder_may_begin_with_a_tilde(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert handles.resolve("~/module", tmp_path) == folder


def test_the_only_version_of_a_served_model_is_found(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "1")
    (tmp_path / "served").mkdir()
    (tmp_path / "1").rename(tmp_path / "served/1")
    assert handles.resolve(str(tmp_path / "served"), tmp_path) == tmp_path / "served/1"


def test_of_several_versions_one_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    for version in ("1", "2"):
        shutil.copytree(folder, tmp_path / "served" / version)
    message = refusal(tmp_path / "served", tmp_path)
    assert "served contains several modules; pass one of its folders 1, 2" in message
    message = refusal(packed(tmp_path / "served", tmp_path / "served.tar.gz"), tmp_path)
    assert "contains several modules; unpack it, and pass one of its folders 1, 2" in message


def test_a_folder_of_fine_tuned_modules_says_which_ones_to_pass(
    folder: Path, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    for number, name in enumerate(("older", "newer", "rejected")):
        (tuned / name).mkdir(parents=True)
        (tuned / name / handles.FINE_TUNING).write_text("{}")
        if name != "rejected":
            shutil.copytree(folder, tuned / name / "lite")
            os.utime(tuned / name / "lite/saved_model.pb", (number, number))
    assert handles.resolve(str(tuned / "older"), tmp_path) == tuned / "older/lite"
    folders = f"{tuned / 'newer/lite'}, {tuned / 'older/lite'}"
    assert refusal(tuned, tmp_path).endswith(f"newest first: {folders}")
    assert "was not better, so it contains no module" in refusal(tuned / "rejected", tmp_path)


def test_an_exported_model_says_which_module_to_pass(folder: Path, tmp_path: Path) -> None:
    """Its probabilities would be taken for features."""
    tuned, model = "tuned/0123456789ab/lite", tmp_path / "out/models/m"
    lite = Module("lite", "modules/lite", "digest", 8, 8, 4)
    named = Module("lite, fine-tuned (ab)", tuned, "digest", 8, 8, 4, tuned_from="lite")
    shutil.copytree(folder, model / "saved_model")
    (tmp_path / "out/current").symlink_to("models/m")
    for module, expected in ((lite, "lite"), (named, named.handle)):
        recipe.write(Recipe(module, "float32", "float16"), model)
        assert refusal(model, tmp_path).endswith(f"pass its module: {expected}")
    (tmp_path / "out" / tuned).mkdir(parents=True)
    for handle in (tmp_path / "out/current", model / "saved_model"):
        message = refusal(handle, tmp_path)
        assert f"{handle} is an exported model" in message
        assert message.endswith(f"pass its module: {tmp_path / 'out' / tuned}")
    packed(model, tmp_path / "m.tar.gz")
    for _ in ("unpacked now", "unpacked before"):
        assert "m.tar.gz is an exported model" in refusal(tmp_path / "m.tar.gz", tmp_path)
    (tmp_path / handles.RECIPE).write_text("{}")  # of another program
    assert handles.resolve(str(folder), tmp_path) == folder


@pytest.mark.parametrize("nested", [False, True])
def test_an_archive_of_this_machine_is_unpacked_once(
    folder: Path, tmp_path: Path, nested: bool
) -> None:
    (tmp_path / "outer").mkdir()
    shutil.copytree(folder, tmp_path / "outer/module")
    file = packed(tmp_path / "outer" if nested else folder, tmp_path / "m.tgz")
    directory = handles.resolve(str(file), tmp_path / "made")
    assert names(directory) == MODULE
    before = directory.stat().st_ino
    assert handles.resolve(str(file), tmp_path / "made") == directory
    assert directory.stat().st_ino == before
    assert list((tmp_path / "made").iterdir()) == [directory]


def test_another_archive_under_the_same_name_goes_elsewhere(folder: Path, tmp_path: Path) -> None:
    first = handles.resolve(str(packed(folder, tmp_path / "m.tgz")), tmp_path / "made")
    (folder / "saved_model.pb").write_bytes(b"another graph")
    second = handles.resolve(str(packed(folder, tmp_path / "m.tgz")), tmp_path / "made")
    assert first != second
    assert (second / "saved_model.pb").read_bytes() == b"another graph"


def test_a_hubs_handle_is_fetched_once_by_its_protocol(
    web: Web, handle: str, cache: Path, tmp_path: Path
) -> None:
    steps: list[tuple[int, int, str]] = []
    directory = handles.resolve(handle, tmp_path, lambda *step: steps.append(step))
    assert names(directory) == MODULE
    requests = [f"/google/imagenet/feature_vector/1?{COMPRESSED}", "/bucket/module.tar.gz?signed=1"]
    assert web.requests == requests
    assert steps[0][2].endswith(" downloaded")
    assert handles.resolve(handle, tmp_path) == directory
    assert web.requests == requests
    note = cache / f"{directory.name}.descriptor.txt"
    assert note.read_text().startswith(f"Module: {handle}\n")
    assert sorted(cache.iterdir()) == [directory, note]


def test_a_query_that_a_handle_has_is_kept(web: Web, archive: bytes, tmp_path: Path) -> None:
    web.put("/m", Page(archive, query=f"version=2&{COMPRESSED}"))
    assert names(handles.resolve(f"{web.url}/m?version=2", tmp_path)) == MODULE


def test_an_address_of_an_archive_is_taken_as_it_is(
    web: Web, archive: bytes, tmp_path: Path
) -> None:
    url = web.put("/m.tar.gz", archive)
    assert names(handles.resolve(f"{url}?signature=1", tmp_path)) == MODULE
    assert web.requests == ["/m.tar.gz?signature=1"]


def test_the_mirror_of_the_hub_has_its_archives_elsewhere() -> None:
    assert handles._archive_url("https://hub.tensorflow.google.cn/google/x/1") == (
        "https://gcs.tensorflow.google.cn/tfhub-modules/google/x/1.tar.gz"
    )


def test_the_classic_handle_is_asked_for_and_kept_as_documented(cache: Path) -> None:
    assert handles._archive_url(CLASSIC) == f"{CLASSIC}?{COMPRESSED}"
    # sha1sum of the handle; the folder's name in everybody's cache
    assert handles.cached(CLASSIC) == cache / "11d9faf945d073033780fd924b2b09ff42155763"


def test_without_tfhub_cache_dir_modules_are_kept_with_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    assert handles.cached(CLASSIC).parent == Path("data/modules").absolute()


def test_a_cache_that_is_no_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket/cache")
    assert "TFHUB_CACHE_DIR is gs://bucket/cache; it must be a local folder" in refusal(
        CLASSIC, tmp_path
    )


@pytest.mark.filterwarnings("ignore:.*pkg_resources")
def test_the_cache_is_shared_with_the_tensorflow_hub_library(
    web: Web, archive: bytes, tmp_path: Path
) -> None:
    import tensorflow_hub

    ours, theirs = (web.put(f"/{path}/1", Page(archive)) for path in ("ours", "theirs"))
    fetched = handles.resolve(ours, tmp_path), tensorflow_hub.resolve(theirs)
    web.pages.clear()
    found = tensorflow_hub.resolve(ours), handles.resolve(theirs, tmp_path)
    assert list(map(Path, found)) == list(map(Path, fetched))


@pytest.mark.parametrize("left", [[], ["variables/variables.index"], [".lock"]])
def test_a_folder_without_its_graph_is_fetched_again(
    handle: str, tmp_path: Path, left: list[str]
) -> None:
    directory = handles.resolve(handle, tmp_path)
    shutil.rmtree(directory)
    for name in left:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("left by a crash")
    directory.mkdir(exist_ok=True)
    assert names(handles.resolve(handle, tmp_path)) == MODULE


def test_what_is_not_trusted_is_fetched_again(web: Web, handle: str, tmp_path: Path) -> None:
    directory = handles.resolve(handle, tmp_path)
    (directory / "saved_model.pb").write_bytes(b"")
    handles.resolve(handle, tmp_path, again=True)
    assert (directory / "saved_model.pb").read_bytes() == b"graph"
    assert len(web.requests) == 4


def test_two_runs_at_once_fetch_once(web: Web, handle: str, tmp_path: Path) -> None:
    found: list[Path] = []
    runs = [
        threading.Thread(target=lambda: found.append(handles.resolve(handle, tmp_path)))
        for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(web.requests) == 2


def test_a_read_only_cache_will_do_once_the_module_is_there(
    handle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = handles.resolve(handle, tmp_path)
    monkeypatch.delattr(
        "pipeline.files.locks.beside"
    )  # root may write anywhere: modes show nothing
    assert handles.resolve(handle, tmp_path) == directory


def test_a_transfer_that_breaks_off_is_taken_up_by_the_next_run(
    web: Web, folder: Path, tmp_path: Path
) -> None:
    (folder / "variables/variables.data").write_bytes(os.urandom(1_000_000))
    content = packed(folder, tmp_path / "m.tgz").read_bytes()
    handle = web.put("/m/1", Page(content, breaks=[600_000] * 3))
    assert "was interrupted repeatedly" in refusal(handle, tmp_path)
    web.ranges.clear()
    assert len(names(handles.resolve(handle, tmp_path))) == 3
    assert web.ranges == ["bytes=600000-"]


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_object_stores_are_read_where_their_library_is_there(
    folder: Path, archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    class Store(MemoryFileSystem):
        """A store in memory, in place of the library for the real one."""

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(super()._strip_protocol(path.replace(f"{scheme}://", "memory://")))

    monkeypatch.setitem(_registry, scheme, Store)
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    for path in folder.rglob("*.*"):
        Store().pipe(f"/bucket/module/{path.relative_to(folder)}", path.read_bytes())
    Store().pipe("/bucket/module.tar.gz", archive)
    for name in ("module", "module.tar.gz"):
        directory = handles.resolve(f"{scheme}://bucket/{name}", tmp_path)
        assert names(directory) == MODULE
        assert (directory / "saved_model.pb").read_bytes() == b"graph"
    Store().rm("/bucket", recursive=True)
    assert names(handles.resolve(f"{scheme}://bucket/module", tmp_path)) == MODULE
    message = refusal(f"{scheme}://bucket/none", tmp_path)
    assert f"{scheme}://bucket/none cannot be downloaded: there is nothing there" in message


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_the_library_of_an_object_store_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, scheme, raising=False)
    message = refusal(f"{scheme}://bucket/module", tmp_path)
    assert (
        f"reading {scheme}:// URLs needs a library; install it (pip install {package})" in message
    )


def test_an_address_of_a_kind_that_nobody_knows_is_reported(tmp_path: Path) -> None:
    assert "unknown scheme xyz://" in refusal("xyz://a/b", tmp_path)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(b"<html>no</html>", 404), "check the address in a browser"),
        (Page(b"<html>log in</html>"), "it is a web page, not an archive"),
        (Page(b"weights"), "it is not a .tar or .tar.gz archive"),
        (Page(b"", 500), "the server answered 500 Internal Server Error; try later"),
    ],
)
def test_what_a_hub_does_not_give_is_one_line_with_the_remedy(
    web: Web, cache: Path, tmp_path: Path, page: Page, reason: str
) -> None:
    handle = web.put("/m/1", page)
    message = refusal(handle, tmp_path)
    assert message.startswith(f"tfhub_module: {handle}")
    assert reason in message
    assert message.endswith(", or download the module manually and pass its folder")
    assert not list(cache.glob("[!.]*"))


def test_an_archive_of_something_else_is_refused(web: Web, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.txt").write_text("a")
    handle = web.put("/m/1", packed(tmp_path / "other", tmp_path / "x.tgz").read_bytes())
    assert f"{handle} contains no saved_model.pb; pass" in refusal(handle, tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("resnet.pth", "is PyTorch weights, which TensorFlow cannot run; use a TensorFlow module"),
        ("model.safetensors", "is PyTorch weights"),
        ("model.tflite", "pass the folder of a SavedModel"),
        ("saved_model.pb", "pass the folder of a SavedModel"),
        ("model.zip", "is an archive, but not .tar.gz; unpack it"),
    ],
)
def test_a_file_of_another_kind_is_named_with_the_remedy(
    web: Web, tmp_path: Path, name: str, remedy: str
) -> None:
    (tmp_path / name).write_bytes(b"something")
    for handle in (str(tmp_path / name), f"{web.url}/{name}"):
        message = refusal(handle, tmp_path)
        assert handle in message
        assert remedy in message
    assert web.requests == []


def test_a_keras_file_elsewhere_is_named_with_the_remedy(web: Web, tmp_path: Path) -> None:
    remedy = "a Keras file; pass the path of the file itself, on this machine"
    assert f"model.keras is {remedy}" in refusal(f"{web.url}/model.keras", tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/model.h5").touch()
    assert f"folder contains model.h5, {remedy}" in refusal(tmp_path / "folder", tmp_path)


def test_a_folder_of_pytorch_weights_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit/model.safetensors").touch()
    message = refusal(tmp_path / "vit", tmp_path)
    assert "vit contains model.safetensors, PyTorch weights, which TensorFlow cannot run" in message


def test_nothing_at_all_is_refused_with_the_choices(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.tar.gz", tmp_path)
    assert (
        "none.tar.gz is neither a built-in module nor a file or folder; pass a built-in name"
        in message
    )
    (tmp_path / "notes").write_text("a file")
    message = refusal(tmp_path / "notes", tmp_path)
    assert "notes is a file, but neither a Keras file nor an archive; pass a built-in" in message


def test_the_files_of_a_handle_are_those_that_tell_of_a_change(
    handle: str, folder: Path, tmp_path: Path
) -> None:
    file = packed(folder, tmp_path / "m.tgz")
    assert handles.files(str(file)) == [file]
    assert handles.files(str(folder)) == [folder / name for name in MODULE]
    assert handles.files(handle) == []
    directory = handles.resolve(handle, tmp_path)
    assert handles.files(handle) == [directory / name for name in MODULE]
