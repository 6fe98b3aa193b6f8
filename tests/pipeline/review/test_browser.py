"""The review page in Chromium, used with the keyboard only."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import local_server
from pipeline.photos import corrections
from pipeline.photos.corrections import Correction
from pipeline.review import last_run, page
from pipeline.review import subject as subjects
from pipeline.review.evidence import Guess
from pipeline.review.queue import Entry, Queue
from pipeline.review.subject import Subject
from tests.support.browser import chromium

pytestmark = pytest.mark.slow
HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def subject(checked: Path) -> Subject:
    found = subjects.read(last_run.find(checked), checked.parent / corrections.FILE, "Ann")
    guesses = [Guess("red_rose", 0.1, []), Guess("green leaf", 0.9, [])]
    guessed = {entry.photos[0].digest: guesses for entry in found.queue.entries}
    return replace(found, guessed=guessed)


def press(browser: Any, keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(keys).perform()


def type_class(browser: Any, label: str) -> None:
    from selenium.webdriver.common.keys import Keys

    press(browser, "l")
    press(browser, label + Keys.ENTER)


def text(browser: Any, name: str) -> str:
    shown: str = browser.find_element("id", name).text
    return shown


def wait(condition: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(None, 20, 0.02).until(lambda _: condition())


def open_page(browser: Any, address: str, count: str) -> None:
    browser.get(address)
    wait(lambda: text(browser, "count") == count)


@contextmanager
def opened(browser: Any, subject: Subject, count: str) -> Iterator[str]:
    """Serve and open the page; yield its address."""
    server = local_server.create(page.application(subject), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        open_page(browser, address, count)
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lines(subject: Subject) -> list[tuple[str, str, str]]:
    return [(c.path, c.action, c.label) for c in corrections.read(subject.queue.path)]


def test_all_findings_are_decided_with_keys(browser: Any, subject: Subject) -> None:
    with opened(browser, subject, "0 of 4"):
        press(browser, "2")  # of a leak: keep the second photo
        wait(lambda: browser.find_elements("css selector", "#guesses kbd"))
        press(browser, "1")  # the first suggested label
        press(browser, "k")
        press(browser, "u")  # while the decision is being saved
        wait(lambda: text(browser, "count") == "2 of 4")
        press(browser, "k")
        press(browser, "x")
        wait(lambda: len(lines(subject)) == 5)
        wait(lambda: "2 kept" in text(browser, "totals"))
        assert text(browser, "count") == "4 of 4"
        wait(lambda: "make train IMAGE_DIR=" in text(browser, "command"))
    assert lines(subject) == [
        ("red_rose/0.jpg", "exclude", ""),
        ("red_rose/1.jpg", "keep", ""),
        ("red_rose/2.jpg", "relabel", "green leaf"),
        ("red_rose/3.jpg", "keep", ""),
        ("red_rose/4.jpg", "exclude", ""),
    ]
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_the_grid_and_another_class_are_reached_with_keys(browser: Any, subject: Subject) -> None:
    from selenium.webdriver.common.keys import Keys

    with opened(browser, subject, "0 of 4"):
        press(browser, "g")
        assert len(browser.find_elements("css selector", "#tiles button")) == 4
        press(browser, Keys.ARROW_RIGHT + Keys.ENTER)
        assert text(browser, "position") == "2 of 4 shown"
        type_class(browser, "green leaf")
        wait(lambda: lines(subject) == [("red_rose/2.jpg", "relabel", "green leaf")])


def test_letters_after_a_mistyped_class_decide_nothing(browser: Any, subject: Subject) -> None:
    from selenium.webdriver.common.keys import Keys

    with opened(browser, subject, "0 of 4"):
        press(browser, Keys.ARROW_RIGHT)
        type_class(browser, "gren leaf")
        wait(lambda: "no class gren leaf" in text(browser, "new"))
        press(browser, "kx")  # the focus is on the similar class
        press(browser, Keys.ESCAPE)
        assert not browser.find_element("id", "new").is_displayed()
        type_class(browser, "kx")  # the text before is gone
        wait(lambda: "no class kx" in text(browser, "new"))
        press(browser, "x")  # still in the field
        assert not browser.find_element("id", "new").is_displayed()
        press(browser, Keys.ENTER)
        wait(lambda: "no class kxx" in text(browser, "new") or "no class x" in text(browser, "new"))
        press(browser, Keys.ESCAPE + "l")
        press(browser, "../kx" + Keys.ENTER)
        wait(lambda: "../kx contains a path separator" in text(browser, "message"))
        assert not lines(subject)


def test_the_nearest_class_or_a_new_one_is_chosen(browser: Any, subject: Subject) -> None:
    from selenium.webdriver.common.keys import Keys

    with opened(browser, subject, "0 of 4"):
        press(browser, Keys.ARROW_RIGHT)
        type_class(browser, "gren leaf")
        wait(lambda: "Use green leaf" in text(browser, "new"))
        press(browser, Keys.ENTER)
        wait(lambda: lines(subject) == [("red_rose/2.jpg", "relabel", "green leaf")])
        type_class(browser, "tulip")
        wait(lambda: "no class tulip" in text(browser, "new"))
        press(browser, Keys.ENTER)
        wait(lambda: lines(subject)[1:] == [("red_rose/3.jpg", "relabel", "tulip")])
        type_class(browser, "tulips")
        wait(lambda: "Use tulip" in text(browser, "new"))
        press(browser, Keys.TAB + Keys.ENTER)
        wait(lambda: lines(subject)[2:] == [("red_rose/4.jpg", "relabel", "tulips")])


def test_the_present_class_means_keep(browser: Any, subject: Subject) -> None:
    from selenium.webdriver.common.keys import Keys

    with opened(browser, subject, "0 of 4"):
        press(browser, Keys.ARROW_RIGHT)
        type_class(browser, "red_rose")
        wait(lambda: "2.jpg is in the class red_rose already: kept" in text(browser, "message"))
        assert lines(subject) == [("red_rose/2.jpg", "keep", "")]
        press(browser, Keys.ARROW_LEFT)
        assert text(browser, "message") == ""  # it is about another photo


def test_keys_decide_after_a_filter_was_chosen(
    browser: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    def refuse(*_: Any) -> None:
        raise UserError("it cannot be written")

    digest, path = subject.run.photos[["digest", "path"]].iloc[0]
    corrections.append(subject.queue.path, [Correction(digest, path, "exclude")])
    again = subjects.read(subject.run, subject.queue.path, "Ann")
    with opened(browser, again, "0 of 4"):  # earlier decisions do not count
        kind = browser.find_element("id", "kind")
        kind.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)  # one after the other
        assert browser.switch_to.active_element == kind
        kind.send_keys(Keys.ESCAPE)
        assert browser.switch_to.active_element != kind
        Select(kind).select_by_value("label")
        with monkeypatch.context() as patch:
            patch.setattr(corrections, "append", refuse)
            press(browser, "k")
            wait(lambda: "was not saved: it cannot be written" in text(browser, "message"))
        press(browser, "kkk")
        wait(lambda: text(browser, "count") == "3 of 3")
        type_class(browser, "green leaf")
        wait(lambda: lines(subject)[-1][1:] == ("relabel", "green leaf"))
        press(browser, "l")
        assert browser.find_element("id", "other").get_attribute("value") == ""
        press(browser, Keys.ESCAPE)
        browser.find_element("id", "all").click()
        Select(browser.find_element("id", "kind")).select_by_value("decision")
        assert text(browser, "title") == "Earlier decisions"
        press(browser, "k")
        wait(lambda: (path, "keep", "") in lines(subject))
        press(browser, "u")
        wait(lambda: (path, "exclude", "") in lines(subject))


def test_photos_of_two_findings_count_once(browser: Any, subject: Subject) -> None:
    entries = [*subject.queue.entries, subject.queue.entries[1]]
    queue = Queue(entries, subject.queue.files, subject.queue.path)
    with opened(browser, replace(subject, queue=queue), "0 of 5"):
        press(browser, "kkkk")
        wait(lambda: text(browser, "totals") == "Photos: 5 kept.")
        assert text(browser, "count") == "5 of 5"


def test_only_decisions_of_this_tab_are_undone(browser: Any, subject: Subject) -> None:
    with opened(browser, subject, "0 of 4") as address:
        press(browser, "2")
        wait(lambda: len(lines(subject)) == 2)
        open_page(browser, address, "1 of 4")
        browser.execute_script("$('all').click(); filter(0)")
        press(browser, "u")
        assert "This tab has nothing to undo" in text(browser, "message")
        press(browser, "1")
        wait(lambda: lines(subject)[-1][0] == "red_rose/1.jpg" and len(lines(subject)) == 2)
        wait(lambda: browser.execute_script("return decided[0].state !== undefined"))
        state = subject.queue.states()[0]
        subject.queue.decide(0, "exclude", "", 0, state)  # another tab
        written = lines(subject)
        browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
        wait(lambda: browser.execute_script("return states[0].photos[0]") == "excluded")
        press(browser, "u")
        wait(lambda: "Nothing was undone" in text(browser, "message"))
        assert lines(subject) == written


def test_unlabelled_photos_get_the_suggested_label_with_one_key(
    browser: Any, subject: Subject
) -> None:
    photos = [entry.photos[0] for entry in subject.queue.entries[1:]]
    entries = [
        Entry("unlabelled", "uncertainty 90%", (replace(photo, label=""),)) for photo in photos
    ]
    queue = Queue(entries, subject.queue.files, subject.queue.path)
    guessed = {photo.digest: [Guess("green leaf", 0.9, [])] for photo in photos}
    with opened(browser, replace(subject, queue=queue, guessed=guessed), "0 of 3"):
        assert not browser.find_element("css selector", "[data-key=k]").is_displayed()
        press(browser, "k")
        for number in range(3):
            wait(lambda: browser.find_elements("css selector", "#guesses kbd"))
            press(browser, "1")
            wait(lambda n=number: len(lines(subject)) == n + 1)
        wait(lambda: "apply-corrections" in text(browser, "command"))
        assert "copies the newly labelled photos" in text(browser, "copies")
    assert {line[1:] for line in lines(subject)} == {("relabel", "green leaf")}


def test_another_tab_is_not_overwritten(browser: Any, subject: Subject) -> None:
    with opened(browser, subject, "0 of 4") as address:
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        open_page(browser, address, "0 of 4")
        press(browser, "1")
        wait(lambda: text(browser, "count") == "1 of 4")
        browser.close()
        browser.switch_to.window(first)
        browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
        wait(lambda: text(browser, "count") == "1 of 4")  # the tab catches up when it is shown
        written = lines(subject)
        # As if it had not; in one script, since the browser may report that the tab is shown again.
        stale = "states[0] = {settled: false, photos: ['', '']}; filter(0); press('2')"
        browser.execute_script(stale)
        wait(lambda: "in the meantime" in text(browser, "message"))
        assert lines(subject) == written


def test_a_newer_run_is_noticed_when_the_user_is_back(
    browser: Any, subject: Subject, checked: Path
) -> None:
    with opened(browser, subject, "0 of 4") as address:
        results = (checked / folder / "0123456789ab.parquet" for folder in ("checks", "manifests"))
        last_run.record(checked, *results, {"image_dir": "photos", "l2": "0.2"})
        browser.execute_script("window.dispatchEvent(new Event('focus'))")
        wait(lambda: "Reload the page" in text(browser, "message"))
        open_page(browser, address, "0 of 4")
        browser.execute_script("window.dispatchEvent(new Event('focus')); press('k')")
        wait(lambda: text(browser, "count") == "1 of 4")
        assert text(browser, "message") == ""


def test_names_are_shown_as_they_are(browser: Any, subject: Subject) -> None:
    photos = subject.queue.files
    digest = subject.queue.entries[1].photos[0].digest
    photo = replace(subject.queue.entries[1].photos[0], path=f"a/{HOSTILE}.jpg", label=HOSTILE)
    entries = [Entry("label", f"looks like {HOSTILE}", (photo,))]
    files = pd.DataFrame({"digest": [digest], "path": [photo.path]})
    hostile = replace(
        subject,
        queue=Queue(entries, pd.concat([photos, files]), subject.queue.path),
        labels=[HOSTILE, "{{ 7 * 7 }}"],
        guessed={digest: [Guess("{{ 7 * 7 }}", 0.9, []), Guess(HOSTILE, 0.1, [])]},
        run=replace(subject.run, options={"image_dir": HOSTILE}),
    )
    with opened(browser, hostile, "0 of 1"):
        wait(lambda: browser.find_elements("css selector", "#guesses kbd"))
        assert HOSTILE in text(browser, "photos")
        assert "{{ 7 * 7 }}" in text(browser, "guesses")
        press(browser, "1")
        wait(lambda: text(browser, "count") == "1 of 1")
        wait(lambda: "onerror" in text(browser, "command"))
        assert browser.title == "Review"
        assert not browser.find_elements("css selector", "img[src=x]")
    wait(lambda: lines(subject) == [(photo.path, "relabel", "{{ 7 * 7 }}")])


def test_a_killed_server_loses_no_decision(browser: Any, checked: Path) -> None:
    command = [sys.executable, "-m", "pipeline.review.page", "--output-dir", str(checked)]

    @contextmanager
    def running(port: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        with subprocess.Popen(
            [*command, "--port", port], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout
            yield re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0], process
            process.terminate()

    file = checked.parent / corrections.FILE
    with running("0") as (address, process):
        open_page(browser, address, "0 of 4")
        press(browser, "1")
        wait(lambda: browser.execute_script("return states[0].settled"))
        assert len(corrections.read(file)) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        press(browser, "x")
        wait(lambda: "may not be saved: No answer" in text(browser, "message"))
        assert text(browser, "count") == "1 of 4"  # what is not saved does not count
        browser.execute_script("move(1)")
        assert text(browser, "message") == ""
    with running(address.rpartition(":")[2]):
        press(browser, "x")
        wait(lambda: "was not saved: The server was restarted" in text(browser, "message"))
        open_page(browser, address, "1 of 4")
        press(browser, "x")
        wait(lambda: len(corrections.read(file)) == 3)
