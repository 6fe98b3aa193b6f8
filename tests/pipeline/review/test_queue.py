"""The queue of the review: entries, decisions and their lines."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.photos import corrections
from pipeline.photos.corrections import Correction
from pipeline.review import queue
from pipeline.review.queue import Queue, StaleError, State

PHOTOS = pd.DataFrame(
    [
        ("1" * 64, "kiwi/1.jpg", "kiwi", "training"),
        ("2" * 64, "kiwi/2.jpg", "kiwi", "testing"),
        ("3" * 64, "lime/same.jpg", "lime", "training"),
        ("3" * 64, "lime/copy.jpg", "lime", "training"),
        ("", "lime/unreadable.jpg", "lime", ""),
    ],
    columns=["digest", "path", "label", "split"],
)
FINDINGS = pd.DataFrame(
    [
        ("leak", 0, "kiwi/1.jpg"),
        ("leak", 0, "kiwi/2.jpg"),
        ("label", 1, "kiwi/1.jpg"),
        ("duplicate", 2, "lime/copy.jpg"),
        ("duplicate", 2, "lime/same.jpg"),
        ("unreadable", 3, "lime/unreadable.jpg"),
        ("outlier", 4, "lime/gone.jpg"),
        ("small_class", 5, ""),
    ],
    columns=["kind", "finding", "path"],
).assign(detail="why")
LEAK, LABEL, DUPLICATE = range(3)
OPEN, PAIR = State(False, [""]), State(False, ["", ""])


@pytest.fixture
def review(tmp_path: Path) -> Queue:
    entries = list(queue.entries(FINDINGS, PHOTOS))
    return Queue(entries, PHOTOS, tmp_path / corrections.FILE, "Ann")


def lines(review: Queue) -> list[tuple[str, str, str, str]]:
    found = corrections.read(review.path)
    return [(c.path, c.action, c.label, c.why) for c in found]


def test_findings_about_known_photos_are_entries_in_order(review: Queue) -> None:
    assert [entry.kind for entry in review.entries] == ["leak", "label", "duplicate"]
    assert [photo.path for photo in review.entries[LEAK].photos] == ["kiwi/1.jpg", "kiwi/2.jpg"]
    assert review.states() == [PAIR, OPEN, PAIR]


def test_a_decision_is_written_at_once_with_the_person_and_the_time(review: Queue) -> None:
    changed = review.decide(LABEL, "relabel", "lime", 0, OPEN)
    assert changed[LABEL] == State(True, ["relabelled lime"])
    (line,) = corrections.read(review.path)
    assert (line.path, line.action, line.label, line.who) == (
        "kiwi/1.jpg",
        "relabel",
        "lime",
        "Ann",
    )
    assert line.when


def test_keeping_one_of_two_excludes_the_other(review: Queue) -> None:
    changed = review.decide(LEAK, "only", "", 1, PAIR)
    assert changed == {
        LEAK: State(True, ["excluded", "kept"]),
        LABEL: State(True, ["excluded"]),  # the same photo
    }
    review.decide(DUPLICATE, "only", "", 0, PAIR)
    assert lines(review) == [
        ("kiwi/1.jpg", "exclude", "", "why"),
        ("kiwi/2.jpg", "keep", "", "leak"),
        ("lime/copy.jpg", "keep", "", "duplicate"),
        ("lime/same.jpg", "exclude", "", "why"),
    ]


def test_a_new_decision_replaces_the_earlier_one_without_a_conflict(review: Queue) -> None:
    state = review.decide(LABEL, "relabel", "lime", 0, OPEN)[LABEL]
    state = review.decide(LABEL, "exclude", "", 0, state)[LABEL]
    state = review.decide(LABEL, "keep", "", 0, state)[LABEL]
    assert state == State(True, ["kept"])
    assert lines(review) == [("kiwi/1.jpg", "keep", "", "label")]


def test_keeping_the_label_leaves_the_leak_open_and_undo_leaves_the_label(review: Queue) -> None:
    review.decide(LABEL, "keep", "", 0, OPEN)
    assert review.states()[LEAK] == PAIR
    state = review.decide(LEAK, "keep", "", 0, PAIR)[LEAK]
    assert state == State(True, ["kept", "kept"])
    changed = review.decide(LEAK, "undo", "", 0, state)
    assert changed == {LEAK: PAIR, LABEL: State(True, ["kept"])}


def test_undo_restores_the_file_of_before(review: Queue) -> None:
    state = review.decide(LEAK, "exclude", "", 0, PAIR)[LEAK]
    review.decide(LEAK, "undo", "", 0, state)
    assert corrections.read(review.path) == ()
    assert review.states() == [PAIR, OPEN, PAIR]


def test_undo_returns_to_the_decision_before(review: Queue) -> None:
    state = review.decide(LABEL, "relabel", "lime", 0, OPEN)[LABEL]
    before = corrections.read(review.path)
    other = Queue(review.entries, PHOTOS, review.path, "Ben")  # after a restart
    excluded = other.decide(LABEL, "exclude", "", 0, state)[LABEL]
    assert other.decide(LABEL, "undo", "", 0, excluded)[LABEL] == state
    written = [(c.label, c.who, c.when) for c in corrections.read(review.path)]
    assert written == [(c.label, c.who, c.when) for c in before]


def test_decisions_are_undone_one_after_the_other(review: Queue) -> None:
    states = [OPEN]
    for action, label in (("relabel", "lime"), ("exclude", ""), ("keep", "")):
        states.append(review.decide(LABEL, action, label, 0, states[-1])[LABEL])
    while len(states) > 1:
        state = states.pop()
        assert review.decide(LABEL, "undo", "", 0, state)[LABEL] == states[-1]
    assert corrections.read(review.path) == ()


def test_undo_writes_no_line_twice(review: Queue) -> None:
    review.decide(LEAK, "keep", "", 0, PAIR)
    before = lines(review)
    state = review.decide(LABEL, "keep", "", 0, OPEN)[LABEL]
    state = review.decide(LABEL, "keep", "", 0, state)[LABEL]
    state = review.decide(LABEL, "undo", "", 0, state)[LABEL]
    review.decide(LABEL, "undo", "", 0, state)
    assert sorted(lines(review)) == sorted(before)


def test_undo_restores_a_label_that_a_leak_replaced(review: Queue) -> None:
    review.decide(LABEL, "relabel", "lime", 0, OPEN)
    before = review.states()
    state = review.decide(LEAK, "exclude", "", 0, before[LEAK])[LEAK]
    review.decide(LEAK, "undo", "", 0, state)
    assert review.states() == before


def test_undo_withdraws_a_line_about_an_earlier_path(review: Queue) -> None:
    corrections.append(review.path, [Correction("1" * 64, "old/1.jpg", "relabel", "lime")])
    review.decide(LABEL, "undo", "", 0, review.states()[LABEL])
    assert corrections.read(review.path) == ()


def test_two_tabs_do_not_overwrite_each_other(review: Queue) -> None:
    other = Queue(review.entries, PHOTOS, review.path, "Ben")
    review.decide(LABEL, "relabel", "lime", 0, OPEN)
    with pytest.raises(StaleError):
        other.decide(LABEL, "exclude", "", 0, OPEN)
    assert lines(review) == [("kiwi/1.jpg", "relabel", "lime", "why")]
    assert other.states()[LABEL] == State(True, ["relabelled lime"])


def test_a_file_that_vanishes_is_not_begun_again(review: Queue) -> None:
    review.decide(LABEL, "exclude", "", 0, OPEN)
    review.path.rename(review.path.with_name("lost.csv"))
    with pytest.raises(UserError, match="is gone, with the decisions about 1 photo; restore it"):
        review.decide(DUPLICATE, "keep", "", 0, PAIR)
    assert not review.path.exists()


def test_earlier_decisions_are_settled_and_can_be_changed(review: Queue) -> None:
    review.decide(LABEL, "relabel", "lime", 0, OPEN)
    review.decide(DUPLICATE, "only", "", 0, PAIR)
    photos = PHOTOS.replace({"label": {"kiwi": "lime"}})  # the next run has applied it
    found = corrections.read(review.path)
    before = {"kiwi/1.jpg": "kiwi"}
    others = list(queue.entries(FINDINGS[:2], photos))  # the leak is still open
    entries = [*others, *queue.earlier_entries(found, photos, before, others)]
    assert [(e.kind, e.photos[0].path, e.photos[0].label) for e in entries[1:]] == [
        ("decision", "kiwi/1.jpg", "kiwi"),
        ("decision", "lime/same.jpg", "lime"),
        ("decision", "lime/copy.jpg", "lime"),
    ]
    assert entries[1].detail.startswith("Ann 20")
    again = Queue(entries, photos, review.path, "Ben")
    _, *states = again.states()
    assert states == [State(True, [word]) for word in ("relabelled lime", "excluded", "kept")]
    state = again.decide(1, "relabel", "lime", 0, states[0])[1]
    assert state == states[0]  # the label of the folder is another one
    state = again.decide(1, "keep", "", 0, state)[1]
    assert state == State(True, ["kept"])
    assert lines(again)[-1] == ("kiwi/1.jpg", "keep", "", "label")
    assert again.decide(2, "keep", "", 0, states[1])[2] == State(True, ["kept"])


def test_decisions_about_the_findings_shown_are_not_listed_again(review: Queue) -> None:
    review.decide(LABEL, "exclude", "", 0, OPEN)
    found = corrections.read(review.path)
    assert list(queue.earlier_entries(found, PHOTOS, {}, review.entries)) == []


def test_names_with_line_breaks_are_one_line(tmp_path: Path) -> None:
    photos = PHOTOS.assign(path=PHOTOS["path"].str.replace("/", "/\n=cmd\x1b[2J,\"'"))
    findings = FINDINGS.assign(path=FINDINGS["path"].str.replace("/", "/\n=cmd\x1b[2J,\"'"))
    entries = list(queue.entries(findings, photos))
    review = Queue(entries, photos, tmp_path / corrections.FILE)
    review.decide(LABEL, "exclude", "", 0, OPEN)
    review.decide(LEAK, "only", "", 1, State(True, ["excluded", ""]))
    assert len(review.path.read_text().splitlines()) == 5  # header, exclude, undo, exclude, keep
    assert review.states()[LEAK] == State(True, ["excluded", "kept"])


def test_the_present_label_is_kept(review: Queue) -> None:
    changed = review.decide(LABEL, "relabel", "kiwi", 0, OPEN)
    assert changed[LABEL] == State(True, ["kept"])
    assert lines(review) == [("kiwi/1.jpg", "keep", "", "label")]


@pytest.mark.parametrize("decision", [("keep", ""), ("relabel", "kiwi")])
def test_keeping_takes_a_label_back(review: Queue, decision: tuple[str, str]) -> None:
    state = review.decide(LABEL, "relabel", "lime", 0, OPEN)[LABEL]
    review.decide(LEAK, "keep", "", 0, review.states()[LEAK])
    state = review.decide(LABEL, *decision, 0, state)[LABEL]
    assert state == State(True, ["kept"])
    assert set(lines(review)) == {
        ("kiwi/1.jpg", "keep", "", "leak"),
        ("kiwi/2.jpg", "keep", "", "leak"),
        ("kiwi/1.jpg", "keep", "", "label"),
    }


def test_a_finding_about_several_photos_changes_no_label(review: Queue) -> None:
    review.decide(LABEL, "relabel", "lime", 0, OPEN)
    before = review.states()
    after = review.decide(LEAK, "keep", "", 0, before[LEAK])
    assert after == {
        LEAK: State(True, ["relabelled lime", "kept"]),
        LABEL: State(True, ["relabelled lime"]),
    }
    review.decide(LEAK, "undo", "", 0, after[LEAK])
    assert review.states() == before


def test_the_present_label_is_given_to_copies(review: Queue) -> None:
    review.decide(DUPLICATE, "relabel", "lime", 0, PAIR)
    assert {line[1] for line in lines(review)} == {"relabel"}
