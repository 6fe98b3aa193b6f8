"""Numbers in messages."""

from pipeline.files.numbers import counted


def test_one_is_singular() -> None:
    assert [counted(n, "photo") for n in (0, 1, 1776)] == ["0 photos", "1 photo", "1,776 photos"]
    assert [counted(n, "class") for n in (0, 1)] == ["0 classes", "1 class"]
