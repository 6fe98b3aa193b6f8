"""Options: all are documented, also in luigi.cfg."""

import math
import re
from pathlib import Path
from typing import Any

import luigi
import pytest

from pipeline.errors import UserError
from tasks import (
    ExportModel,
    NightlyRetrain,
    PredictImages,
    PruneRuns,
    SearchHead,
    SuggestPhotos,
    configuration,
)


def test_a_folder_may_begin_with_a_tilde() -> None:
    assert ExportModel(image_dir="~/photos").image_dir == Path.home() / "photos"


@pytest.mark.parametrize("option", [{"fine_tune_cache_gb": -1.0}, {"fine_tune_every": 0}])
def test_impossible_options_of_fine_tuning_are_refused_by_name(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(UserError, match=f"^{name} is .*; it must be "):
        NightlyRetrain(**option)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (ExportModel, {"image_size": 5}, "image_size is 5; it must be from 16 to 4096, or 0"),
        (ExportModel, {"image_size": 100_000}, "image_size is 100000; it must be from 16 to 4096"),
        (ExportModel, {"ray_actors": -1}, "ray_actors is -1; it must be at least 0"),
        (ExportModel, {"shard_size": 0}, "shard_size is 0; it must be at least 1"),
        (ExportModel, {"testing_percentage": math.nan}, "testing_percentage is nan; it must be a"),
        (ExportModel, {"final_tensor_name": "a/b"}, "final_tensor_name is 'a/b'; it must consist"),
        (NightlyRetrain, {"tolerance": -1.0}, "tolerance is -1; it must be from 0 to 100"),
        (NightlyRetrain, {"retry_delay": math.inf}, "retry_delay is inf; it must be at least 0"),
        (NightlyRetrain, {"assert_accuracy_at_least": 90.0}, "must be from 0 to 1$"),
        (PruneRuns, {"keep": -1}, "keep is -1; it must be at least 1"),
        (SearchHead, {"try_image_size": "3"}, "image_size is 3; it must be from 16 to 4096"),
    ],
)
def test_a_value_out_of_range_is_refused_before_any_work(
    task: Any, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        task(**options)


def all_options() -> list[tuple[str, luigi.Parameter]]:
    tasks = (NightlyRetrain, SearchHead, PredictImages, SuggestPhotos, PruneRuns)
    return [option for task in tasks for option in task.get_params()]


def test_every_option_says_what_it_is() -> None:
    for name, parameter in all_options():
        assert parameter.description, name


def test_luigi_cfg_shows_every_option_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "luigi.cfg").read_text()
    for name, parameter in all_options():
        if name in ("date", "delete"):  # command line only
            continue
        default = parameter._default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        shown = shown.lower() if isinstance(default, bool) else shown
        assert f"#{name} = {shown}".strip() in text, name


def test_luigi_cfg_shows_every_option_in_its_section() -> None:
    section, shown = "", dict[str, str]()
    for line in (Path(__file__).parents[2] / "luigi.cfg").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif named := re.match(r"#?(\w+) =", line):
            shown[named[1]] = section
    for section, names in configuration._options.items():
        for name in names:
            assert shown[name] == section, name


def test_luigi_cfg_shows_luigis_options_with_the_defaults_of_this_pipeline() -> None:
    text = (Path(__file__).parents[2] / "luigi.cfg").read_text()
    for section, values in configuration.LUIGI_DEFAULTS.items():
        shown = text.partition(f"\n[{section}]\n")[2].partition("\n[")[0]
        for name, value in values.items():
            assert f"#{name} = {value}\n" in f"{shown}\n", name


def test_type_checkers_use_the_types_of_the_packages() -> None:
    for package in ("pipeline", "tasks"):
        assert (Path(__file__).parents[2] / package / "py.typed").is_file()
