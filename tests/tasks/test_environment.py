"""The environment of a command: what editors, locales and proxies do to it."""

import locale
import os
from pathlib import Path

import pytest
from requests.utils import should_bypass_proxies

from pipeline.errors import UserError
from tasks import environment

TEXT = "# Käse\n[data]\nimage_dir = photos\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty folder, without variables that change the environment."""
    for name in os.environ:
        if name.startswith("LUIGI") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "")  # so that they are restored after the test
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        environment.prepare()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (TEXT.encode("utf-8-sig"), " starts with a byte-order mark, which Luigi cannot read; save"),
        (TEXT.encode("latin-1"), ", line 1: not UTF-8 text; save it as UTF-8"),
        (TEXT.encode("utf-16"), ", line 1: not UTF-8 text; save it as UTF-8"),
        (f"{TEXT}[data]\n".encode(), ", line 4: there is a section [data] above; move"),
        (f"{TEXT}image_dir = x\n".encode(), ", line 4: [data] sets image_dir above, too; remove"),
        (b"image_dir = x\n[data]\n", ", line 1: not in a section; write one above it"),
        (f"{TEXT}photos\n".encode(), ", line 4: neither an option nor a section; write name ="),
    ],
    ids=["byte-order mark", "Latin-1", "UTF-16", "section", "option", "no section", "no value"],
)
def test_a_luigi_cfg_that_luigi_cannot_read_is_refused_in_one_line(
    folder: Path, content: bytes, problem: str
) -> None:
    (folder / "luigi.cfg").write_bytes(content)
    assert refusal().startswith(f"{folder}/luigi.cfg{problem}")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_system_are_accepted(folder: Path, line_end: str) -> None:
    (folder / "luigi.cfg").write_bytes(TEXT.replace("\n", line_end).encode())
    environment.prepare()
    assert environment.luigi_cfgs() == [folder / "luigi.cfg"]


def test_a_luigi_cfg_that_is_a_folder_is_refused(folder: Path) -> None:
    (folder / "luigi.cfg").mkdir()
    assert f"{folder}/luigi.cfg cannot be read: Is a directory; make it" in refusal()


def test_a_missing_file_in_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "nowhere.cfg")
    assert "LUIGI_CONFIG_PATH: there is no file 'nowhere.cfg'; correct" in refusal()


def test_a_locale_without_utf_8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale, "getpreferredencoding", lambda _: "ISO-8859-1")
    assert "encoding is ISO-8859-1" in refusal()
    assert "PYTHONUTF8=1" in refusal()


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "example.org")
    environment.prepare()
    for host in ("127.0.0.1", "localhost", "[::1]", "example.org"):
        assert should_bypass_proxies(f"http://{host}:8082/api", None), host
    assert not should_bypass_proxies("http://example.com/", None)
    before = os.environ["no_proxy"]
    environment.prepare()
    assert os.environ["no_proxy"] == before


@pytest.mark.parametrize(("proxy", "exempt"), [("", ""), ("http://proxy.invalid", "*")])
def test_without_need_no_proxy_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, proxy: str, exempt: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", exempt)
    environment.prepare()
    assert os.environ["no_proxy"] == exempt


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows, pytest.raises(UserError, match="run it in WSL"):
        windows.setattr(os, "name", "nt")
        environment.prepare()
