"""The timeline: nights as they stand after promotions and rollbacks by hand."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.nightly import history, history_page, promotion, timeline
from pipeline.nightly.history import Night
from tests.support.nights import FULL
from tests.support.store import saved

COMMAND = f"{promotion.ADVICE}make promote MODEL=m2"
REJECTED = Night("2026-11-26", history.REFUSED, f"worse; {COMMAND}", model="m2")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Model m of FULL is promoted, and m2 rejected on the next day."""
    moves = [promotion.promote(tmp_path, saved(tmp_path / "models/m"), promotion.NIGHTLY)]
    history.add(tmp_path, replace(FULL, reason=""), moves[0])
    history.add(tmp_path, replace(REJECTED, finished="2026-11-26T03:01:00+01:00"))
    saved(tmp_path / "models/m2")
    return tmp_path


def test_a_rejected_model_comes_with_the_command_and_the_promoted_one_with_its_name(
    out: Path,
) -> None:
    promoted, rejected = timeline.read(out)
    assert promoted.reason == "model m, which is the current one now"
    assert rejected.reason == f"worse; {COMMAND}"


def test_a_promotion_by_hand_is_a_row_and_leaves_no_advice(out: Path) -> None:
    promotion.promote_named(out, "m2")
    promoted, rejected, by_hand = timeline.read(out)
    assert promoted.reason == "model m"
    assert rejected.reason == "worse; model m2, which is the current one now, by hand"
    assert by_hand.outcome_name == "promoted by hand"
    assert by_hand.reason == "model m2, which is the current one now; before: model m"


def test_a_rollback_is_a_row_and_gives_the_advice_again(out: Path) -> None:
    promotion.promote_named(out, "m2")
    promotion.rollback(out)
    promoted, rejected, by_hand, rolled_back = timeline.read(out)
    assert promoted.reason == "model m, which is the current one now"
    assert rejected.reason == f"worse; {COMMAND}"
    assert by_hand.reason == "model m2; before: model m"
    assert rolled_back.outcome_name == "rolled back"
    assert rolled_back.reason == "model m, which is the current one now; before: model m2"


def test_rows_of_one_date_show_the_time(tmp_path: Path) -> None:
    for date, time in (("2026-11-25", "03:01"), ("2026-11-25", "21:30"), ("2026-11-26", "03:02")):
        history.add(tmp_path, Night(date, "failed", "x", finished=f"{date}T{time}:00+01:00"))
    rows = timeline.read(tmp_path)
    assert [row.date for row in rows] == ["2026-11-25 03:01", "2026-11-25 21:30", "2026-11-26"]


def test_the_page_is_written_when_a_model_is_promoted(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["promote", "--output-dir", str(out), "--promote", "m2"])
    promotion.main()
    page = (out / history_page.PAGE).read_text()
    assert "promoted by hand</strong>" in page
    assert "model m2, which is the current one now" in page
    assert COMMAND not in page
