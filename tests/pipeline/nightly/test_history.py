"""The history: what is written down is read again, and drops are told from noise."""

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.nightly import history
from pipeline.nightly.history import Night, Promotion
from tests.support.nights import FULL


def test_a_night_is_read_as_it_was_written(tmp_path: Path) -> None:
    history.add(tmp_path / "out", FULL)
    history.add(tmp_path / "out", Night("2026-11-26", history.FAILED, "the disk is full"))
    first, second = history.nights(tmp_path / "out")
    assert first == FULL
    assert second.photos is None
    assert second.finished != ""
    assert first.top1 == pytest.approx(159 / 165)
    assert second.top1 is None


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert history.nights(tmp_path / "out") == history.promotions(tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_a_night_is_done_once_its_key_is_there(tmp_path: Path) -> None:
    assert not history.is_recorded(tmp_path, "abc")
    assert not list(tmp_path.iterdir())
    history.add(tmp_path, FULL)
    assert history.is_recorded(tmp_path, "abc")
    assert not history.is_recorded(tmp_path, "abd")


def test_a_night_and_its_promotion_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    history.add(tmp_path)
    with sqlite3.connect(tmp_path / history.FILE) as database:
        database.execute("drop table promotions")
        database.execute("create table promotions (number integer primary key)")
    database.close()
    with pytest.raises(sqlite3.OperationalError):
        history.add(tmp_path, FULL, Promotion(history.now(), "m", "nightly", ""))
    assert history.nights(tmp_path) == []


def test_no_accuracy_right_is_an_accuracy() -> None:
    assert Night("", "", "", test_photos=10, correct=0).top1 == 0


def night(correct: int, outcome: str = history.PROMOTED) -> Night:
    return Night("2026-11-01", outcome, "", test_photos=200, correct=correct)


def test_a_drop_beyond_chance_is_flagged_and_noise_is_not() -> None:
    usual = [night(correct) for correct in (190, 188, 191, 190)]
    assert history.accuracy_drop(usual, 187, 200) is None
    assert history.accuracy_drop(usual, 199, 200) is None
    flagged = history.accuracy_drop(usual, 178, 200)
    assert flagged == "Accuracy dropped to 89.0% (median of the last 4 runs: 95.0%, p < 0.01)"


def test_one_error_after_nights_without_any_is_noise() -> None:
    perfect = Night("", history.PROMOTED, "", test_photos=22, correct=22)
    assert history.accuracy_drop([perfect], 21, 22) is None
    assert history.accuracy_drop([perfect], 17, 22) is not None


def test_a_slide_over_weeks_is_flagged() -> None:
    slide = [night(190 - i // 2) for i in range(24)]
    assert history.accuracy_drop(slide[:4], 188, 200) is None
    assert history.accuracy_drop(slide, 174, 200) is not None


def test_refused_nights_are_not_what_is_usual() -> None:
    nights = [night(190), *[night(100, history.REFUSED) for _ in range(5)]]
    assert history.accuracy_drop(nights, 150, 200) is not None
    assert history.accuracy_drop([], 1, 200) is None


def test_the_text_names_the_outcome_and_the_flags() -> None:
    text = "\n".join(history.lines([FULL, Night("2026-11-26", history.FAILED, "disk full")]))
    assert "1,776" in text
    assert "96.4%" in text
    assert "! two" in text
    assert "failed: disk full" in text


def test_each_part_of_a_reason_has_a_line_of_its_own() -> None:
    night = Night("2026-11-26", history.REFUSED, "class a was renamed to b; to promote it: make x")
    row, command = list(history.lines([night]))[1:]
    assert row.endswith("rejected: class a was renamed to b")
    assert command == "            - to promote it: make x"
    assert night.summary == f"2026-11-26 rejected: {night.reason}"


def test_the_reason_of_a_failure_is_shown_as_one() -> None:
    night = Night("2026-11-26", history.FAILED, "photos is empty; add photos")
    assert list(history.lines([night]))[1].endswith("failed: photos is empty; add photos")


@pytest.mark.parametrize(("photos", "shown"), [(None, False), (80, True)])
def test_only_a_decided_night_has_a_duration(photos: int | None, shown: bool) -> None:
    row = list(history.lines([Night("2026-11-26", "rolled back", "x", photos=photos)]))[1]
    assert ("0.0" in row) == shown


def test_several_may_write_at_a_time(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for _ in range(10):
            history.add(tmp_path, Night(f"2026-01-0{number}", history.UNCHANGED, ""))

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(1, 5)))
    assert Counter(night.date[-1] for night in history.nights(tmp_path)) == dict.fromkeys(
        "1234", 10
    )


def older_file(folder: Path) -> None:
    """Write a history of the version before the columns `module` and `tuned`."""
    with sqlite3.connect(folder / history.FILE) as database:
        database.executescript(history._TABLES)
        database.execute(
            "insert into nights (date, finished, key, outcome, reason, flags, seconds, model, "
            "evaluation, head, manifest) "
            "values ('d', 'f', 'k', 'o', 'r', '[]', '{}', '', '', '', '')"
        )
    database.close()


def test_several_may_open_an_older_file_at_a_time(tmp_path: Path) -> None:
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        older_file(folder)
        with ThreadPoolExecutor(4) as threads:
            assert all(len(nights) == 1 for nights in threads.map(history.nights, [folder] * 4))


def test_a_file_of_an_earlier_version_gets_the_new_columns(tmp_path: Path) -> None:
    older_file(tmp_path)
    (night,) = history.nights(tmp_path)
    assert (night.module, night.tuned) == ("", False)
    history.add(tmp_path, FULL)
    assert history.nights(tmp_path)[-1] == FULL
