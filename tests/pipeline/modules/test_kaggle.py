"""Modules on Kaggle: by TensorFlow Hub's protocol, by Kaggle's API, and by kagglehub.

A local server stands for both sites, and a module of ours for kagglehub.
"""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.errors import UserError
from pipeline.files import download
from pipeline.modules import handles, kaggle
from tests.support.saved_modules import packed
from tests.support.web import Page, Web

MODEL = "google/mobilenet-v2/tensorFlow2/100-224-feature-vector/2"
LOGIN = Page(b"<html>log in</html>", 403)
COMPRESSED = "tf-hub-format=compressed"


@pytest.fixture(autouse=True)
def site(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server in place of Kaggle and tfhub.dev; kagglehub is not installed."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_PAUSES", (0,))
    monkeypatch.setattr(kaggle, "_KAGGLE", f"{web.url}/")
    monkeypatch.setattr(kaggle, "_TFHUB", f"{web.url}/tfhub/")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    return web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "module").mkdir()
    (tmp_path / "module/saved_model.pb").write_bytes(b"graph")
    return tmp_path / "module"


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Page:
    return Page(packed(folder, tmp_path / "packed.tgz").read_bytes())


def graph(handle: str, tmp_path: Path) -> bytes:
    return (handles.resolve(handle, tmp_path) / "saved_model.pb").read_bytes()


def refusal(handle: str, tmp_path: Path) -> str:
    with pytest.raises(UserError) as caught:
        handles.resolve(handle, tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Install a kagglehub; returns the models that it is asked for."""
    asked: list[str] = []
    kagglehub = ModuleType("kagglehub")

    def model_download(handle: str) -> str:
        asked.append(handle)
        if "secret" in handle:
            raise RuntimeError("403 Client Error.\n\nYou don't have permission")
        return str(folder)

    kagglehub.model_download = model_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    return asked


def test_the_page_of_a_model_serves_its_archive(web: Web, archive: Page, tmp_path: Path) -> None:
    archive.query = COMPRESSED
    handle = web.put(f"/models/{MODEL}", archive)
    assert graph(handle, tmp_path) == b"graph"
    assert len(web.requests) == 1


@pytest.mark.parametrize("page", [LOGIN, Page(b"<html>model</html>"), Page(b"", 404)])
def test_the_api_serves_what_the_page_does_not(
    web: Web, archive: Page, tmp_path: Path, page: Page
) -> None:
    handle = web.put(f"/models/{MODEL}", page)
    web.put(f"/api/v1/models/{MODEL}/download", archive)
    assert graph(handle, tmp_path) == b"graph"


def test_a_handle_of_tfhub_is_looked_up(web: Web, archive: Page, tmp_path: Path) -> None:
    redirect = Page(status=302, location=f"/models/{MODEL}?tfhub-redirect=true")
    handle = web.put("/tfhub/google/mobilenet_v2/1", redirect)
    web.put(f"/models/{MODEL}", LOGIN)
    web.put(f"/api/v1/models/{MODEL}/download", archive)
    assert graph(handle, tmp_path) == b"graph"


def test_kagglehub_is_asked_where_it_is_installed(
    web: Web, installed: list[str], tmp_path: Path
) -> None:
    handle = web.put(f"/models/{MODEL}", LOGIN)
    web.put(f"/api/v1/models/{MODEL}/download", LOGIN)
    assert graph(handle, tmp_path) == b"graph"
    assert installed == [MODEL]
    assert graph(handle, tmp_path) == b"graph"  # from the cache
    assert installed == [MODEL]


def test_an_error_lists_what_was_tried(web: Web, tmp_path: Path) -> None:
    handle = web.put(f"/models/{MODEL}", LOGIN)
    login = "the server answered 403 Forbidden; it may require a login: download it in a browser"
    assert refusal(handle, tmp_path) == (
        f"tfhub_module: {handle} was tried in 3 ways: "
        f"(1) {handle}?{COMPRESSED} cannot be downloaded: {login}; "
        f"(2) {web.url}/api/v1/models/{MODEL}/download cannot be downloaded: the server answered "
        "404 Not Found; check the address in a browser; "
        "(3) kagglehub, which logs in, is not installed (pip install kagglehub), "
        "or download the module manually and pass its folder"
    )


def test_an_error_of_kagglehub_is_one_line(web: Web, installed: list[str], tmp_path: Path) -> None:
    handle = web.put("/models/a/secret/tensorFlow2/b", LOGIN)
    message = refusal(handle, tmp_path)
    assert f"{handle} was tried in 2 ways: (1) " in message  # the API needs a version
    assert "(2) kagglehub cannot download a/secret/tensorFlow2/b: 403 Client Error.; acc" in message
    assert installed == ["a/secret/tensorFlow2/b"]


def test_a_module_elsewhere_is_not_looked_for_on_kaggle(
    web: Web, installed: list[str], tmp_path: Path
) -> None:
    message = refusal(web.put("/elsewhere/1", LOGIN), tmp_path)
    assert "403 Forbidden" in message
    assert "ways" not in message
    assert installed == []


@pytest.mark.parametrize(
    ("address", "model"),
    [
        (f"https://www.kaggle.com/models/{MODEL}", MODEL),
        (f"https://kaggle.com/models/{MODEL}?tfhub-redirect=true", MODEL),
        (
            "https://www.kaggle.com/models/google/bert/frameworks/tensorFlow2/variations/bem",
            "google/bert/tensorFlow2/bem",
        ),
        (
            "https://www.kaggle.com/models/google/bert/frameworks/TensorFlow2/variations/bem"
            "/versions/1",
            "google/bert/TensorFlow2/bem/1",
        ),
        (f"https://www.kaggle.com/api/v1/models/{MODEL}/download", MODEL),
        ("https://www.kaggle.com/models?tfhub-redirect=true", ""),  # what has not moved
        ("https://www.kaggle.com/models/google/bert", ""),
        ("https://example.com/models/a/b/c/d/1", ""),
    ],
)
def test_addresses_are_read_as_kagglehub_names_models(
    monkeypatch: pytest.MonkeyPatch, address: str, model: str
) -> None:
    monkeypatch.setattr(kaggle, "_KAGGLE", "https://www.kaggle.com/")
    assert kaggle.model(address) == model
