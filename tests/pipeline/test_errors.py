"""Errors that users see."""

import pytest

from pipeline import errors


@pytest.mark.parametrize("text", ["{apple: Apple}", "{rose:2}"])
def test_quotes_that_the_shell_removed_are_named(text: str) -> None:
    assert "The shell removed the double quotes" in errors.lost_quotes(text)


@pytest.mark.parametrize("text", ["", "apple", '{"apple": 1', '{"rose": -2}', "{}"])
def test_other_mistakes_are_not_blamed_on_quotes(text: str) -> None:
    assert errors.lost_quotes(text) == ""
