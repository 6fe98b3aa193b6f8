"""The report: its files, and its page in a real browser."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks.reader import Bottlenecks
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import comparison, metrics, report
from pipeline.evaluation.data_checks import checks
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.evaluation.report import Run
from pipeline.files.timings import Timing
from pipeline.head.softmax_head import Head
from pipeline.modules.loading import Module
from pipeline.photos import changes
from pipeline.photos.decisions import Applied
from pipeline.photos.manifest import ClassSummary, Summary
from tests.support.browser import chromium, resize
from tests.support.photos import PhotoMaker

NASTY = (
    "<img src=x onerror='window.harm=1'>",
    "</script><script>window.harm=1<",
    "\"quoted\" & 'single'",
    "two\nlines\u2028three",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "\U0001f34e apple \U0001f469\u200d\U0001f33e",
    "${window.harm=1}{{ 7 * 7 }}",
    "a" * 60,
)


@dataclass
class Written:
    """A page, and what it was made of."""

    directory: Path
    predictions: pd.DataFrame

    @property
    def page(self) -> str:
        return (self.directory / "report.html").read_text(encoding="utf-8")

    @property
    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "evaluation.json").read_text())
        return found


def write(
    directory: Path,
    labels: tuple[str, ...],
    paths: list[str],
    answers: list[int],
    earlier: Path,
    known: int = 0,
    leaked_to: str = "testing",
    module: str = "module",
    corrected: dict[str, Any] | None = None,
) -> Written:
    """A report on a photo of each path, whose class is its folder, and which got an answer.

    The earlier model was trained on the first `known` photos. A leak joins training and another
    split.
    """
    head = Head(labels, np.eye(len(labels), dtype=np.float32), np.zeros(len(labels), np.float32))
    vectors = np.eye(len(labels), dtype=np.float32)[answers] * np.c_[np.arange(1, len(paths) + 1)]
    truth = np.array([path.rpartition("/")[0] for path in paths], dtype=object)
    rows = Bottlenecks(
        vectors.astype(np.float32), truth, paths, [f"digest of {path}" for path in paths]
    )
    result, predictions = metrics.evaluate(head, rows)
    findings = pd.DataFrame(
        [
            ("leak", 0, paths[0], truth[0], "training", 1.0, f"identical file in {truth[0]}"),
            ("leak", 0, paths[1], truth[1], leaked_to, 1.0, f"identical file in {truth[0]}"),
            ("small_class", 1, "", truth[0], "", 1.0, "3 photos"),
        ],
        columns=["kind", "finding", "path", "label", "split", "score", "detail"],
    )
    classes = tuple(ClassSummary(label, "d", 10, 2, 3, 0) for label in labels)
    before = predictions.assign(correct=~predictions["correct"])
    tested = pd.DataFrame({"digest": rows.digests, "label": truth, "split": "testing"})
    theirs = ModelPhotos(tested.head(known).assign(split="training"))
    photos = ModelPhotos(tested)
    compared = comparison.compare(before, predictions, [theirs, photos])
    run = Run(
        Recipe(Module(module, "/nowhere", "0123456789abcdef", 224, 224, 8), "float32", "float16"),
        Summary("d", "a", classes),
        photos,
        {"image_dir": NASTY[0], "l2": "0.0"},
        [Timing("TrainHead", "heads/x", 75.2, "2026-01-02T03:04:05+00:00")],
        directory / "no head",
        compared if earlier.exists() else None,
        earlier,
        corrected=corrected or {},
    )
    report.write(run, result, predictions, findings, directory.parent / "photos", directory)
    return Written(directory, predictions)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/evaluation.json").write_text('{"top1": 0.5}')
    return tmp_path / "model"


@pytest.fixture
def nasty(tmp_path: Path, make_photo: PhotoMaker, earlier: Path) -> Written:
    """Labels and file names that contain whatever a file system takes."""
    labels = tuple(sorted(name.replace("/", "\\") for name in NASTY))
    paths = [f"{label}/{name.replace('/', '')}.jpg" for label in labels for name in NASTY[:3]]
    for number, path in enumerate(paths):
        make_photo(tmp_path / "photos" / path, number, number)
    n = len(labels)
    answers = [labels.index(p.rpartition("/")[0]) for p in paths]
    answers[::3] = [(i + 1) % n for i in answers[::3]]
    answers[-2] = (answers[-2] + 2) % n
    return write(tmp_path / "report", labels, paths, answers, earlier)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


def opened(browser: Any, written: Written, width: int = 1200) -> Any:
    resize(browser, width, 900)
    browser.get((written.directory / "report.html").as_uri())
    return browser


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return [str(text) for text in browser.execute_script(script, selector)]


def test_files_are_written_that_json_and_pandas_read(nasty: Written) -> None:
    figures = nasty.figures
    assert (figures["count"], figures["top1"]) == (24, 15 / 24)
    assert figures["classes"][0]["count"] == 3
    assert figures["data"]["training"] == 80
    assert figures["data"]["findings"]["leak"] == 1
    assert figures["run"]["timings"][0]["seconds"] == 75.2
    assert figures["comparison"]["broken"] == 9
    frame = pd.read_parquet(nasty.directory / "predictions.parquet")
    assert frame["correct"].tolist() == nasty.predictions["correct"].tolist()
    assert len(checks.read(nasty.directory / "findings.parquet")) == 3
    photos = pd.read_parquet(nasty.directory / "photos.parquet")
    assert photos["digest"].tolist() == nasty.predictions["digest"].tolist()


@pytest.mark.parametrize("leaked_to", ["testing", "validation"])
def test_only_leaks_of_test_photos_overestimate_the_accuracy(
    tmp_path: Path, earlier: Path, leaked_to: str
) -> None:
    paths = ["a/1.jpg", "a/2.jpg"]
    written = write(tmp_path / "report", ("a", "b"), paths, [0, 1], earlier, leaked_to=leaked_to)
    page = (written.directory / "report.html").read_text()
    assert ("so the accuracy is overestimated" in page) == (leaked_to == "testing")


def test_without_test_photos_and_without_a_model_there_is_a_page(tmp_path: Path) -> None:
    labels, nowhere = ("a", "b"), tmp_path / "nowhere"
    written = write(tmp_path / "report", labels, ["c/1.jpg", "c/2.jpg"], [0, 1], nowhere)
    assert written.figures["top1"] is None
    assert written.figures["comparison"] is None
    assert "There are no test photos of the model" in written.page
    assert "There is no current model" in written.page


def test_the_page_names_some_of_the_corrected_photos(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": [f"a/<{n}>.jpg" for n in range(9)], "label": "b"})
    before = dict.fromkeys(rows["path"][:7], "a")
    applied = Applied(before, {"a/<8>.jpg": ["ok", ""]}, *[[]] * 5)
    corrected, nowhere = changes.corrected(rows, applied), tmp_path / "nowhere"
    labels, paths = ("a", "b"), ["a/1.jpg", "a/2.jpg"]
    written = write(tmp_path / "report", labels, paths, [0, 1], nowhere, corrected=corrected)
    found = written.figures["data"]["corrections"]
    assert found == corrected
    assert found["relabelled"][6] == {"path": "a/<6>.jpg", "label": "b", "before": "a"}
    assert "7 photos relabelled: <bdi>a/&lt;0&gt;.jpg</bdi> from <bdi>a</bdi> to" in written.page
    assert "a/&lt;5&gt;" not in written.page
    assert "and 2 more; 1 excluded: <bdi>a/&lt;8&gt;.jpg</bdi></dd>" in written.page
    without = write(tmp_path / "without", labels, paths, [0, 1], nowhere)
    assert "Corrections" not in without.page


@pytest.mark.parametrize("module", ["lite", "lite, fine-tuned (0123456789ab)"])
def test_the_page_shows_the_digest_of_the_module_once(tmp_path: Path, module: str) -> None:
    folder, nowhere = tmp_path / "report", tmp_path / "nowhere"
    page = write(folder, ("a", "b"), ["a/1.jpg", "b/2.jpg"], [0, 1], nowhere, module=module).page
    line = page.partition("<dt>Module</dt>")[2].partition("</dd>")[0]
    assert line.count("0123456789ab") == 1


@pytest.mark.parametrize(
    ("known", "shown", "hidden"),
    [
        (0, "on the same 4 test photos", "left out"),
        (2, "trained on 2 of the test photos, which are therefore left out", "too few"),
        (3, "The remaining test photos are too few", "No test photo is left"),
        (4, "No test photo is left for the comparison", "test photos are too few"),
    ],
)
def test_the_page_says_which_photos_are_left_out_of_the_comparison(
    tmp_path: Path, earlier: Path, known: int, shown: str, hidden: str
) -> None:
    (earlier / "evaluation.json").write_text('{"top1": 0.5, "count": 8}')
    paths = [f"a/{number}.jpg" for number in range(4)]
    written = write(tmp_path / "report", ("a", "b"), paths, [0, 0, 0, 1], earlier, known)
    assert shown in written.page
    assert hidden not in written.page
    own = "On the 8 test photos of its own evaluation, the accuracy of the current model was 50.0%"
    assert (own in written.page) == bool(known)
    verdict = "The difference from the current model is not significant"
    assert (verdict in written.page) == (known < 3)
    assert written.figures["comparison"]["excluded"] == known


def test_the_page_is_one_file_that_loads_nothing(nasty: Written) -> None:
    page = nasty.page
    assert "http://" not in page
    assert "https://" not in page
    assert "window.harm" in page  # as a text
    assert "<script>window.harm" not in page
    assert "<img src=x" not in page


@pytest.mark.slow
def test_names_with_html_quotes_and_emoji_do_no_harm(browser: Any, nasty: Written) -> None:
    opened(browser, nasty)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.harm === undefined")
    shown = texts(browser, "#classes ~ .scroll tbody th")[: len(NASTY)]
    assert sorted(shown) == sorted(c["label"] for c in nasty.figures["classes"])
    options = texts(browser, "#true option")
    assert len(options) == 1 + len({p["label"] for p in nasty.figures["misclassified"]})


@pytest.mark.slow
def test_misclassified_photos_come_the_surest_first_with_a_picture(
    browser: Any, nasty: Written
) -> None:
    opened(browser, nasty)
    shown = texts(browser, "#photos li .path")
    assert shown == [row["path"] for row in nasty.figures["misclassified"]]
    script = "return [...document.querySelectorAll('#photos img')].map(i => i.naturalWidth)"
    browser.execute_script("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
    assert browser.execute_script(script) == [48] * len(shown)


@pytest.mark.slow
def test_tables_sort_by_the_head_that_is_pressed(browser: Any, nasty: Written) -> None:
    opened(browser, nasty)
    head = browser.find_elements("css selector", "#classes ~ .scroll thead button")[2]
    column = "#classes ~ .scroll tbody tr td:nth-child(3)"
    script = "return [...document.querySelectorAll(arguments[0])].map(e => +e.dataset.value)"

    def recalls() -> list[float]:
        return list(browser.execute_script(script, column))[: len(NASTY)]

    before = recalls()
    assert before != sorted(before)
    head.send_keys("\ue007")  # the Enter key
    assert recalls() == sorted(before)
    head.click()
    assert recalls() == sorted(before, reverse=True)
    assert head.find_element("xpath", "..").get_attribute("aria-sort") == "descending"


@pytest.mark.slow
def test_photos_are_filtered_by_class_and_by_pair(browser: Any, nasty: Written) -> None:
    opened(browser, nasty)
    wrong = nasty.figures["misclassified"]
    first = nasty.figures["pairs"][0]
    expected = [
        row["path"]
        for row in wrong
        if (row["label"], row["predicted"]) == (first["label"], first["predicted"])
    ]
    browser.find_elements("css selector", ".show")[0].click()
    assert texts(browser, "#photos li:not([hidden]) .path") == expected
    assert browser.find_element("id", "shown").text == f"{len(expected)} of {len(wrong)} photos"
    browser.execute_script("document.querySelector('#filter').reset()")
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert len(texts(browser, "#photos li:not([hidden])")) == len(wrong)
    cell = browser.find_elements("css selector", ".confusion td.w")[0]
    browser.execute_script("arguments[0].click()", cell)
    assert 0 < len(texts(browser, "#photos li:not([hidden])")) < len(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390, 320])
def test_nothing_is_wider_than_the_screen(browser: Any, nasty: Written, width: int) -> None:
    opened(browser, nasty, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_figures_pictures_and_heads_have_names_for_screen_readers(
    browser: Any, nasty: Written
) -> None:
    opened(browser, nasty)
    unnamed = (
        "return [...document.querySelectorAll('button, select, a, svg')].filter(e => !("
        "e.textContent.trim() || e.ariaLabel || e.labels?.length)).length"
    )
    assert browser.execute_script(unnamed) == 0
    assert browser.execute_script("return document.querySelectorAll('img:not([alt])').length") == 0
    levels = [
        int(tag[1])
        for tag in browser.execute_script(
            "return [...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName)"
        )
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_very_many_photos_make_a_page_of_bounded_size(tmp_path: Path, earlier: Path) -> None:
    labels = tuple(f"class {number:03}" for number in range(101))
    paths = [f"{label}/{number:05}.jpg" for label in labels for number in range(100)]
    answers = [(n // 100 + (n % 3 == 0) * (1 + n % 7)) % 101 for n in range(len(paths))]
    written = write(tmp_path / "report", labels, paths, answers, earlier)
    assert len(written.figures["misclassified"]) > 3000
    assert len(written.page) < 1_000_000  # with pictures of 3 KB each, below 3 MB
