"""What changed between two manifests."""

import pandas as pd

from pipeline.photos import changes
from pipeline.photos.changes import Changes
from pipeline.photos.corrections import Correction
from pipeline.photos.decisions import Applied


def rows(*photos: tuple[str, str], status: str = "ok") -> pd.DataFrame:
    return pd.DataFrame(photos, columns=["digest", "label"]).assign(status=status)


def test_without_an_earlier_manifest_all_photos_have_arrived() -> None:
    assert changes.compare(None, rows(("1", "a"), ("2", "a"))) == Changes(2, 0, 0)


def test_photos_arrive_vanish_and_change_their_class() -> None:
    before = rows(("1", "a"), ("2", "a"), ("3", "b"))
    after = rows(("1", "a"), ("2", "b"), ("4", "b"))
    assert changes.compare(before, after) == Changes(added=1, removed=1, relabelled=1)


def test_photos_set_aside_do_not_count() -> None:
    before = rows(("1", "a"))
    after = pd.concat([before, rows(("2", "a"), status="empty file")])
    assert changes.compare(before, after) == Changes(0, 0, 0)


def test_a_photo_in_two_classes_is_not_relabelled_while_it_stays_in_both() -> None:
    both = rows(("1", "a"), ("1", "b"))
    assert changes.compare(both, both) == Changes(0, 0, 0)


def test_what_corrections_changed_is_named() -> None:
    names = [f"a/{number}.jpg" for number in range(9)]
    before = pd.DataFrame({"digest": list("012345678"), "label": "a", "path": names, "problem": ""})
    before["status"] = "ok"
    after = before.copy()
    after.loc[:6, "label"] = "b"
    after.loc[7, ["status", "problem"]] = ["excluded by corrections", "excluded"]
    lines = [Correction(str(number), "", "relabel", "b") for number in range(7)]
    lines.append(Correction("7", "", "exclude"))
    shown = ", ".join(f"a/{number}.jpg from a to b" for number in range(5))
    assert list(changes.correction_lines(before, after, lines)) == [
        f"corrections relabelled 7 photos: {shown} and 2 more",
        "corrections excluded 1 photo: a/7.jpg",
    ]
    assert list(changes.correction_lines(after, after, lines)) == []
    assert list(changes.correction_lines(before, after, [])) == []  # photos that were moved
    assert list(changes.correction_lines(None, after, lines)) == []


def test_withdrawn_corrections_are_named() -> None:
    names = [f"a/{number}.jpg" for number in range(5)]
    after = pd.DataFrame({"digest": list("01234"), "label": "a", "path": names})
    before = after.assign(label=["b", "b", "a", "b", "a"])
    applied = Applied(dict.fromkeys(names[:2] + names[3:4], "a"), {names[2]: ["ok", ""]}, *[[]] * 5)
    after = after.replace({"path": {names[3]: "b/3.jpg"}})  # carried out
    rows = changes.withdrawn(before, applied, after, [Correction("0", "", "relabel", "b")])
    assert list(changes.withdrawn_lines(rows)) == [
        "2 corrections were withdrawn: a/1.jpg is a again instead of b, a/2.jpg is used again"
    ]
    assert changes.withdrawn(None, None, after, []).empty
