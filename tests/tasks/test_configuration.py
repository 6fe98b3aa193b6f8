"""luigi.cfg: names and values are checked. test_command.py tests the messages."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from luigi.configuration import get_config
from luigi.interface import core
from luigi.retcodes import retcode
from luigi.worker import worker

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


@pytest.fixture
def luigi_cfg(monkeypatch: pytest.MonkeyPatch) -> ConfigParser:
    """Replace Luigi's configuration by an empty one for one test."""
    config = type(get_config())()
    monkeypatch.setattr(type(config), "_instance", config)
    return config


@pytest.mark.usefixtures("luigi_cfg")
def test_without_a_luigi_cfg_failures_have_exit_codes_and_no_scheduler_is_needed() -> None:
    configuration.set_luigi_defaults(["luigi"])
    codes = retcode()
    assert (codes.already_running, codes.missing_data, codes.not_run) == (10, 20, 25)
    assert (codes.task_failed, codes.scheduling_error, codes.unhandled_exception) == (30, 35, 40)
    assert core().local_scheduler
    assert core().log_level == "INFO"
    assert worker().check_complete_on_run
    assert not worker().send_failure_email


def test_the_same_command_may_run_in_two_folders(
    luigi_cfg: ConfigParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = []
    for name in ("a", "b", "a"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        luigi_cfg.remove_section("core")
        configuration.set_luigi_defaults(["luigi"])
        locks.append(core().lock_pid_dir)
    assert locks[0] == locks[2] != locks[1]


def test_luigi_cfg_overrides_the_defaults(luigi_cfg: ConfigParser) -> None:
    luigi_cfg.read_string("[retcode]\ntask_failed = 7\n[worker]\ncheck_complete_on_run = false\n")
    configuration.set_luigi_defaults(["luigi"])
    assert (retcode().task_failed, retcode().not_run) == (7, 25)
    assert not worker().check_complete_on_run


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ["--scheduler-url", "http://127.0.0.1:8082"]),
        ("[core]\nlocal_scheduler = true\n", ["--scheduler-host=127.0.0.1"]),
        ("[core]\nscheduler_url = http://127.0.0.1:8082\n", []),
        ("[core]\nscheduler_host = 127.0.0.1\n", []),
    ],
)
def test_a_scheduler_that_is_named_is_used(
    luigi_cfg: ConfigParser, text: str, arguments: list[str]
) -> None:
    luigi_cfg.read_string(text)
    configuration.set_luigi_defaults(["luigi", *arguments])
    assert not core().local_scheduler


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[smtp]\npassword = 50%off", "[smtp] password: write a % sign as %%"),
        (
            "[smtp]\npassword = ${NO_SUCH}",
            "there is no environment variable NO_SUCH; set it",
        ),
        ("[smtp]\nport = mail", "[smtp] port is 'mail'; it must be a whole number"),
        ("[core]\nworkers = 0", "luigi.cfg: [core] workers is 0; it must be at least 1"),
        ("[email]\nformat = pdf", "[email] format is 'pdf'; choose from html, none, plain"),
        ("[worker]\nkeep_alive = yes", "keep_alive is 'yes'; it must be true or false"),
        ("[task_history]\ndb_connection = x://a:b%c@d", "db_connection: write a % sign as %%"),
    ],
)
def test_a_mistake_in_a_section_of_luigi_is_one_line(
    luigi_cfg: ConfigParser, text: str, message: str
) -> None:
    luigi_cfg.read_string(text)
    with pytest.raises(UserError, match=re.escape(message)):
        configuration.check_luigi_options()


def test_correct_values_in_sections_of_luigi_are_accepted(luigi_cfg: ConfigParser) -> None:
    luigi_cfg.read_string("[smtp]\npassword = 50%%off\nport = 25\n[weather]\nrain = 50%\n")
    configuration.check_luigi_options()
    assert luigi_cfg.get("smtp", "password") == "50%off"
