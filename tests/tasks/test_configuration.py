"""luigi.cfg: names and values are checked. test_command.py tests the messages."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from luigi.configuration import get_config

from pipeline.errors import UserError
from tasks import configuration


@pytest.fixture
def section() -> Iterator[str]:
    """Set a section of Luigi's configuration for one test."""
    yield "test_options"
    get_config().remove_section("test_options")
    configuration._options.pop("test_options", None)


def test_without_a_value_the_default_counts(section: str) -> None:
    assert configuration.config_default(section, "percentage", 10.0) == 10.0


def test_a_value_takes_the_defaults_type(section: str) -> None:
    get_config().set(section, "percentage", "12")
    get_config().set(section, "size", "224")
    percentage = configuration.config_default(section, "percentage", 10.0)
    assert (percentage, type(percentage)) == (12.0, float)
    assert configuration.config_default(section, "size", 0) == 224


def test_a_value_of_another_type_is_refused(section: str) -> None:
    get_config().set(section, "size", "large")
    with pytest.raises(UserError, match=r"size is 'large'; it must be a whole number"):
        configuration.config_default(section, "size", 0)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_yes_and_no_are_true_and_false(section: str, text: str, value: bool) -> None:
    get_config().set(section, "flip", text)
    assert configuration.config_default(section, "flip", not value) is value


def test_anything_else_is_neither_true_nor_false(section: str) -> None:
    get_config().set(section, "flip", "yes")
    with pytest.raises(UserError, match=r"flip is 'yes'; it must be true or false"):
        configuration.config_default(section, "flip", False)


def test_a_value_that_is_no_choice_is_refused_with_the_choices(section: str) -> None:
    get_config().set(section, "precision", "low")
    with pytest.raises(UserError, match="choose from auto, float32"):
        configuration.config_default(section, "precision", "auto", ("auto", "float32"))


@pytest.mark.parametrize(
    ("arguments", "value"),
    [([], True), (["--exif-orientation", "false"], False), (["--exif-orientation"], True)],
)
def test_yes_and_no_can_be_given_on_the_command_line(arguments: list[str], value: bool) -> None:
    command = ["--module", "tasks", "PrepareModule", *arguments]
    assert configuration.parse_task(command).exif_orientation is value


@pytest.mark.parametrize(
    ("path", "default", "choices", "message"),
    [
        ("l2", 0.0, (), "--l2 is 'abc'; it must be a number"),
        ("eval_step_interval", 10, (), "--eval-step-interval is 'abc'; it must be a whole number"),
        ("optimizer", "b", ("b", "a"), "--optimizer is 'abc'; choose from b, a"),
        ("dataset", "", ("", "flowers"), "--dataset is 'abc'; choose from flowers"),
    ],
)
def test_a_wrong_value_on_the_command_line_is_refused_with_the_option(
    section: str, path: str, default: object, choices: tuple[object, ...], message: str
) -> None:
    parameter: Any = configuration.option(f"{section}.{path}", default, "", choices=choices)
    with pytest.raises(UserError, match=re.escape(message)):
        parameter.parse("abc")


def test_a_section_that_nobody_knows_is_named() -> None:
    get_config().set("weather", "rain", "true")
    get_config().set("resources", "memory", "1")
    try:
        assert configuration.check_names() == ["luigi.cfg: ignoring unknown section [weather]"]
    finally:
        get_config().remove_section("weather")
        get_config().remove_section("resources")


def test_an_unknown_option_is_refused_with_the_nearest_name(section: str) -> None:
    configuration.config_default(section, "image_dir", "")
    get_config().set(section, "image_dri", "x")
    with pytest.raises(UserError, match="no option image_dri; did you mean image_dir"):
        configuration.check_names()
