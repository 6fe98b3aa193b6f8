"""Renamed, merged and split classes."""

import unicodedata

import pandas as pd
import pytest

from pipeline.nightly import class_changes


def rows(**classes: range) -> pd.DataFrame:
    """Photos of classes: numbers are digests."""
    pairs = [(str(number), label) for label, numbers in classes.items() for number in numbers]
    return pd.DataFrame(pairs, columns=["digest", "label"])


def found(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    return [str(change) for change in class_changes.find(before, after)]


def test_a_renamed_class_is_recognized_by_its_photos() -> None:
    before = rows(rose=range(43), tulip=range(50, 80))
    after = rows(roses=range(2, 60), tulip=range(60, 80))
    assert found(before, after)[0] == "class rose was renamed to roses (41 of its 43 photos)"


def test_merged_classes_are_recognized() -> None:
    before = rows(a=range(10), b=range(10, 30), d=range(50, 60))
    after = rows(c=range(30), d=range(50, 60))
    assert found(before, after) == ["classes a and b were merged into c (30 of their 30 photos)"]


def test_a_class_merged_into_an_existing_one_is_recognized() -> None:
    before, after = rows(a=range(10), b=range(10, 30)), rows(b=range(30))
    assert found(before, after) == ["class a was merged into b (10 of its 10 photos)"]


def test_a_split_class_is_recognized() -> None:
    before, after = rows(a=range(43)), rows(b=range(20), c=range(20, 41))
    assert found(before, after) == ["class a was split into b and c (20 and 21 of its 43 photos)"]


def test_a_class_that_keeps_its_name_and_loses_a_part_was_split() -> None:
    before, after = rows(a=range(40)), rows(a=range(30), b=range(30, 40))
    assert found(before, after) == ["class a was split into a and b (30 and 10 of its 40 photos)"]


def test_classes_renamed_in_a_chain_are_recognized_one_by_one() -> None:
    before = rows(a=range(10), b=range(10, 20))
    after = rows(b=range(10), c=range(10, 20))
    assert found(before, after) == [
        "class a was renamed to b (10 of its 10 photos)",
        "class b was renamed to c (10 of its 10 photos)",
    ]


def test_a_few_corrected_labels_are_no_change_of_classes() -> None:
    before = rows(a=range(20), b=range(20, 40))
    after = rows(a=range(3, 20), b=[*range(20, 40), 0, 1, 2])  # type: ignore[arg-type]
    assert found(before, after) == []


@pytest.mark.parametrize("left", [0, 4])
def test_a_class_whose_photos_were_mostly_deleted_was_not_renamed(left: int) -> None:
    assert found(rows(a=range(10), b=range(10, 20)), rows(b=range(10 - left, 20))) == []


def test_identical_files_in_two_classes_count_once() -> None:
    before = pd.concat([rows(a=range(10)), rows(a=range(10))])
    assert found(before, rows(c=range(10))) == ["class a was renamed to c (10 of its 10 photos)"]


def test_names_that_look_the_same_are_told_apart() -> None:
    composed = unicodedata.normalize("NFC", "café")
    decomposed = unicodedata.normalize("NFD", composed)
    (text,) = found(rows(**{composed: range(3)}), rows(**{decomposed: range(3)}))
    assert text == r"class 'caf\xe9' was renamed to 'cafe\u0301' (3 of its 3 photos)"
    (text,) = found(rows(**{"rose ": range(3)}), rows(rose=range(3)))
    assert text == "class 'rose ' was renamed to 'rose' (3 of its 3 photos)"


def test_models_without_photos_have_no_changes() -> None:
    assert found(rows(), rows(a=range(3))) == []
