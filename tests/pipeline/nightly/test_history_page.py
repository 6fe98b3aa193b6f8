"""The page with the trend."""

import sys
from pathlib import Path

import pytest

from pipeline.nightly import history, history_page
from pipeline.nightly.history import Night
from tests.support.nights import FULL

NASTY = "<script>alert(1)</script>\"'&"


def test_marks_stand_in_order_and_better_is_higher() -> None:
    nights = [Night("", "promoted", "", test_photos=100, correct=c) for c in (95, 98, 91)]
    marks, levels = history_page.chart([*nights, Night("", "failed", "")])
    assert [mark.x for mark in marks] == [50, 450, 850]
    assert marks[1].y < marks[0].y < marks[2].y
    assert levels[0] == (0.9, 210)
    assert levels[2] == (1, 50)


def test_a_single_perfect_night_has_a_chart() -> None:
    marks, levels = history_page.chart([Night("", "promoted", "", test_photos=9, correct=9)])
    assert (marks[0].x, marks[0].y) == (50, 50)
    assert levels[0][0] == 0.9


def test_the_page_holds_every_night_and_no_text_breaks_it(tmp_path: Path) -> None:
    history.add(tmp_path, FULL)
    history.add(tmp_path, Night("2026-11-26", history.FAILED, NASTY, flags=(NASTY,)))
    page = history_page.write(tmp_path).read_text(encoding="utf-8")
    assert "2026-11-25" in page
    assert "2026-11-26" in page
    assert "薔薇" in page
    assert "alert(1)</script>" not in page
    assert "<circle" in page


def test_a_page_without_any_night(tmp_path: Path) -> None:
    assert "There are no nights yet" in history_page.write(tmp_path).read_text()


def test_without_a_history_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["history", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no history yet"):
        history_page.main()


def test_reading_a_history_without_nights_does_not_create_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["history", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no history yet"):
        history_page.main()
    monkeypatch.setattr(sys, "argv", ["history", "--output-dir", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="there is no folder"):
        history_page.main()
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    history.add(tmp_path, FULL)
    monkeypatch.setattr(sys, "argv", ["history", "--output-dir", str(tmp_path)])
    history_page.main()
    output = capsys.readouterr().out
    assert "promoted" in output
    assert f"{tmp_path}/history.html" in output
