"""Public data sets, from small archives of their layout on a real server."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import archive, download
from pipeline.photos import datasets
from pipeline.progress import silent
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import packed
from tests.support.web import Page, Web

ROOT = Path(__file__).parents[3]


@pytest.fixture
def food(
    web: Web, tmp_path: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> bytes:
    """A small food101 in place of the large one; its archive."""
    monkeypatch.setattr(download, "_PAUSES", (0,))
    top = tmp_path / "packed/food-101"
    for label in ("apple_pie", "waffles"):
        for number in range(3):
            make_photo(top / "images" / label / f"{number}.jpg", seed=number)
    (top / "meta").mkdir()
    (top / "meta/train.txt").write_text("apple_pie/0\nwaffles/0\n")
    (top / "meta/test.txt").write_text("apple_pie/1\nwaffles/1\n")
    (top / "license_agreement.txt").write_text("terms")
    content = packed(top.parent, tmp_path / "food.tgz").read_bytes()
    serve(web, monkeypatch, Page(content))
    return content


def serve(web: Web, monkeypatch: pytest.MonkeyPatch, page: Page) -> datasets.Dataset:
    url = web.put("/food-101.tar.gz", page)
    digest = hashlib.sha256(page.content).hexdigest()
    changed = replace(datasets.DATASETS["food101"], url=url, sha256=digest)
    monkeypatch.setattr(datasets, "DATASETS", {"food101": changed})
    return changed


def directory(data_dir: Path) -> Path:
    return datasets.DATASETS["food101"].directory("food101", data_dir)


def test_a_data_set_is_fetched_once(food: bytes, web: Web, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    steps: list[str] = []
    for _ in range(2):
        datasets.fetch("food101", data_dir, lambda *step: steps.append(step[2]))
    assert web.requests == ["/food-101.tar.gz"]
    assert list(data_dir.iterdir()) == [directory(data_dir)]
    assert directory(data_dir).name == f"food101-{hashlib.sha256(food).hexdigest()[:12]}"
    names = sorted(path.name for path in directory(data_dir).iterdir())
    assert names == ["images", "license_agreement.txt", "meta"]
    assert (directory(data_dir) / "images/waffles/2.jpg").is_file()
    assert set(steps) == {"MB of food-101.tar.gz downloaded", "MB unpacked"}


def test_a_break_costs_no_more_than_the_rest(
    food: bytes, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(food) // 2
    serve(web, monkeypatch, Page(food, breaks=[half] * 3))
    with pytest.raises(UserError, match=r"^dataset: http.* was interrupted repeatedly; try later"):
        datasets.fetch("food101", tmp_path / "data", silent)
    assert not directory(tmp_path / "data").exists()
    web.ranges.clear()
    datasets.fetch("food101", tmp_path / "data", silent)
    assert web.ranges == [f"bytes={half}-"]
    assert (directory(tmp_path / "data") / "meta/test.txt").is_file()


@pytest.mark.usefixtures("food")
def test_an_end_while_unpacking_costs_no_download(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archive, "unpack", interrupted)
        datasets.fetch("food101", tmp_path / "data", silent)
    assert not directory(tmp_path / "data").exists()
    datasets.fetch("food101", tmp_path / "data", silent)
    assert len(web.requests) == 1
    assert list((tmp_path / "data").iterdir()) == [directory(tmp_path / "data")]


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_fetched(
    food: bytes, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(web, monkeypatch, Page(food, stalls=len(food) - 10)).url
    file = tmp_path / "data/file"
    program = (
        f"from pathlib import Path; from pipeline.files import download as d; "
        f"d._MB = 1000; d.download({url!r}, Path({str(file)!r}))"
    )
    run = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    part = file.with_name(".file.part")
    while not part.is_file() or part.stat().st_size < 1000:
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    web.pages["/food-101.tar.gz"].stalls = None
    download.download(url, file)
    assert file.read_bytes() == food
    assert int(re.fullmatch(r"bytes=(\d+)-", web.ranges[-1])[1]) >= 1000  # type: ignore[index]


def test_an_archive_that_is_not_the_publishers_is_refused(
    food: bytes, web: Web, tmp_path: Path
) -> None:
    web.put("/food-101.tar.gz", food + os.urandom(1))
    with pytest.raises(UserError, match=r"^dataset: .* has the SHA-256"):
        datasets.fetch("food101", tmp_path / "data", silent)
    assert list((tmp_path / "data").iterdir()) == []


def test_each_data_set_says_whose_it_is_and_how_it_is_checked() -> None:
    for name, dataset in datasets.DATASETS.items():
        assert re.fullmatch("[0-9a-f]{64}", dataset.sha256), name
        assert "see the licence" in dataset.notice or "LICENSE" in dataset.notice, name
        assert dataset.url.startswith("http"), name
