"""Files from a real server on loopback: whole, broken off, resumed, changed, missing."""

import hashlib
import random
import socket
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import download
from tests.support.web import Page, Web

CONTENT = random.Random(0).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSES", (0, 0))


def refusal(url: str, file: Path, sha256: str = "") -> str:
    with pytest.raises(UserError) as caught:
        download.download(url, file, sha256=sha256)
    assert not file.exists()
    return str(caught.value)


def test_a_file_arrives_whole_and_nothing_else_is_left(web: Web, tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    url = web.put("/a/b.tgz", CONTENT)
    download.download(url, tmp_path / "new/b", lambda *step: steps.append(step))
    assert (tmp_path / "new/b").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b"]
    assert steps[-1] == (2, 2, "MB of b.tgz downloaded")
    assert len(steps) == 4


def test_redirects_are_followed(web: Web, tmp_path: Path) -> None:
    web.put("/there", CONTENT)
    web.put("/here", Page(status=302, location="/there?signed=1"))
    download.download(f"{web.url}/here?x=y", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert web.requests == ["/here?x=y", "/there?signed=1"]


def test_whoever_answers_after_a_redirect_is_named_without_what_is_secret(
    web: Web, tmp_path: Path
) -> None:
    url = web.put("/here", Page(status=302, location="/there?signature=secret"))
    assert f"the server answered 404 Not Found at {web.url}/there; check" in refusal(
        url, tmp_path / "file"
    )


def test_a_circle_of_redirects_is_reported(web: Web, tmp_path: Path) -> None:
    url = web.put("/here", Page(status=302, location="/here"))
    assert "Exceeded 30 redirects; check the address" in refusal(url, tmp_path / "file")


def test_a_transfer_that_breaks_off_goes_on_where_it_was(web: Web, tmp_path: Path) -> None:
    # More often than it would be tried without anything coming.
    breaks = [500_000, 1_200_000, 1_200_001, 2_000_000, 2_999_999]
    download.download(web.put("/x", Page(CONTENT, breaks=breaks)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(web.ranges) == 6
    assert web.ranges[0] == ""
    assert web.ranges[-1] == "bytes=2999999-"


def test_what_came_before_a_break_is_not_fetched_again_by_the_next_run(
    web: Web, tmp_path: Path
) -> None:
    url = web.put("/x", Page(CONTENT, breaks=[2_000_000, 2_000_000, 2_000_000, 2_000_000]))
    assert "the transfer was interrupted repeatedly" in refusal(url, tmp_path / "file")
    web.ranges.clear()
    download.download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert web.ranges == ["bytes=2000000-"]


@pytest.mark.parametrize(
    "later",
    [Page(CONTENT[::-1], etag='"2"'), Page(CONTENT[::-1], ranges=False), Page(CONTENT[::-1][:9])],
    ids=["other content", "no parts are given", "less than there was"],
)
def test_what_does_not_fit_what_came_before_is_fetched_anew(
    web: Web, tmp_path: Path, later: Page
) -> None:
    refusal(web.put("/x", Page(CONTENT, breaks=[2_000_000] * 4)), tmp_path / "file")
    download.download(web.put("/x", later), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == later.content


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_without_a_name_for_the_content_a_part_is_not_trusted(
    web: Web, tmp_path: Path, etag: str
) -> None:
    url = web.put("/x", Page(CONTENT, etag=etag, breaks=[2_000_000]))
    download.download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert web.ranges == ["", ""]


def test_all_that_is_there_already_is_taken(web: Web, tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(CONTENT)
    (tmp_path / ".file.tag").write_text('"1"')
    download.download(web.put("/x", CONTENT), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert web.ranges == ["bytes=3000000-"]


def test_a_server_that_does_not_tell_the_size_is_believed(web: Web, tmp_path: Path) -> None:
    steps: list[tuple[int, int, str]] = []
    url = web.put("/x", Page(CONTENT, length=False))
    download.download(url, tmp_path / "file", lambda *step: steps.append(step))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert all(done < total for done, total, _ in steps)


def test_a_server_that_falls_silent_is_left(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", (1, 0.1))
    url = web.put("/x", Page(CONTENT, stalls=1000))
    assert "does not answer; check the network, or try later" in refusal(url, tmp_path / "file")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (404, "check the address in a browser"),
        (410, "check the address in a browser"),
        (403, "login"),
        (418, "check the address"),
    ],
)
def test_what_another_try_would_not_mend_is_reported_at_once(
    web: Web, tmp_path: Path, status: int, advice: str
) -> None:
    url = web.put("/x", Page(b"<html>no</html>", status))
    message = refusal(url, tmp_path / "file")
    assert message.startswith(f"{url} cannot be downloaded: the server answered {status} ")
    assert advice in message
    assert len(web.requests) == 1


def test_a_server_in_trouble_is_asked_again_and_then_reported(web: Web, tmp_path: Path) -> None:
    url = web.put("/x", Page(b"", 503))
    assert "the server answered 503 Service Unavailable; try later" in refusal(
        url, tmp_path / "file"
    )
    assert len(web.requests) == 3


def test_no_server_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = "http://127.0.0.1:9/x"
    expected = f"{url} cannot be downloaded: the server does not answer; check the network"
    assert expected in refusal(url, tmp_path / "file")


def test_a_name_that_no_server_has_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    message = refusal("http://nowhere.invalid/x", tmp_path / "file")
    assert "the server cannot be reached; check the network" in message


def test_an_address_that_is_none_is_reported(tmp_path: Path) -> None:
    assert "check the address" in refusal("https://", tmp_path / "file")


def test_the_right_digest_is_accepted(web: Web, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest().upper()
    download.download(web.put("/x", CONTENT), tmp_path / "file", sha256=digest)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_another_digest_is_refused_and_nothing_is_kept(web: Web, tmp_path: Path) -> None:
    message = refusal(web.put("/x", CONTENT), tmp_path / "file", "0" * 64)
    assert f"has the SHA-256 {hashlib.sha256(CONTENT).hexdigest()} instead of 000" in message
    assert not (tmp_path / ".file.part").exists()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dead_proxy_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", "http://user:secret@127.0.0.1:9")
    message = refusal(f"{scheme}://example.invalid/x", tmp_path / "file")
    assert "the proxy does not answer; correct http_proxy and https_proxy, or unset" in message
    assert "secret" not in message


def test_a_proxy_that_refuses_is_reported(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", web.url)  # a web server is no proxy
    message = refusal("https://example.invalid/x", tmp_path / "file")
    assert "the proxy refused to connect (501 Unsupported method" in message


def test_certificates_that_are_missing_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    message = refusal("https://127.0.0.1:9/x", tmp_path / "file")
    assert "REQUESTS_CA_BUNDLE names /nowhere.pem, which does not exist; correct it" in message
