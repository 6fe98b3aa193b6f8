"""The last run of the data checks."""

import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.files import output_store
from pipeline.photos import corrections
from pipeline.review import last_run, moves, page, suggestions
from tests.support.objects import URL, Objects


def test_the_last_run_is_the_recorded_one(checked: Path, photo_dir: Path) -> None:
    run = last_run.find(checked)
    assert run.image_dir == photo_dir
    assert len(run.photos) == 48
    assert list(run.findings["kind"].unique()) == ["leak", "label", "small_class"]


def test_commands_keep_the_folders_and_the_options(checked: Path, photo_dir: Path) -> None:
    run = last_run.find(checked)
    file = run.corrections_file("")
    assert file == checked.parent / corrections.FILE
    image_dir = shlex.quote(f"IMAGE_DIR={photo_dir}")
    assert run.command("train", file) == (
        f"make train {image_dir} OUTPUT_DIR={checked} 'OPTIONS=--l2 0.1'"
    )
    other = checked.parent / "my labels.csv"
    assert run.command("apply-corrections", other, "APPLY=1") == (
        f"make apply-corrections OUTPUT_DIR={checked} 'CORRECTIONS={other}' APPLY=1"
    )


def test_the_corrections_are_those_of_the_run(checked: Path, photo_dir: Path) -> None:
    file = checked.parent / "mine.csv"
    file.touch()
    found = last_run.find(checked)
    results = checked / "checks/0123456789ab.parquet", checked / "manifests/0123456789ab.parquet"
    options = {"image_dir": str(photo_dir), "corrections": str(file), "dataset": "flower_photos"}
    last_run.record(checked, *results, options)
    run = last_run.find(checked)
    assert run.corrections_file("") == file
    assert run.corrections_file(str(photo_dir)) == photo_dir
    assert run.command("train", file) == (
        f"make train OUTPUT_DIR={checked} CORRECTIONS={file} 'OPTIONS=--dataset flower_photos'"
    )
    assert found.options["l2"] == "0.1"


def test_another_machine_finds_the_last_run_and_the_suggestions(
    checked: Path, photo_dir: Path, objects: Objects, tmp_path: Path
) -> None:
    here, there = (output_store.local_folder(URL, tmp_path / name) for name in ("here", "there"))
    shutil.copytree(checked, here, dirs_exist_ok=True)
    suggestions.write(pd.DataFrame(columns=suggestions.COLUMNS), here / "suggestions/a.csv")
    results = here / "checks/0123456789ab.parquet", here / "manifests/0123456789ab.parquet"
    output_store.open_store(here).upload([*results, here / "suggestions/a.csv"])
    last_run.record(here, *results, {"image_dir": str(photo_dir)})
    before = len(objects.requests)
    last_run.record(here, *results, {"image_dir": str(photo_dir)})
    assert [request.split()[0] for request in objects.requests[before:]] == ["GET"]
    run = last_run.find(there)
    assert len(run.findings) == 6
    assert f"OUTPUT_DIR={URL}" in run.command("train", run.corrections_file(""))
    suggestions.newest(there)
    assert (there / "suggestions/a.csv").exists()


def test_without_findings_the_message_says_what_to_do(checked: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run with findings in .*make check"):
        last_run.find(tmp_path / "empty")
    (checked / "checks/0123456789ab.parquet").unlink()
    with pytest.raises(UserError, match=r"results of the last run in .* are missing; run it again"):
        last_run.find(checked)


def test_corrections_that_the_last_run_applied_must_not_vanish(
    checked: Path, photo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checked.parent / corrections.FILE
    results = checked / "checks/0123456789ab.parquet", checked / "manifests/0123456789ab.parquet"
    options = {"image_dir": str(photo_dir)}
    last_run.record(checked, *results, options, 3)
    gone = rf"{file} is gone, but the last run applied its 3 lines; restore it\. To withdraw"
    for module in (page, moves):
        monkeypatch.setattr("sys.argv", ["command", "--output-dir", str(checked)])
        with pytest.raises(SystemExit, match=gone):
            module.main()
    file.write_text(",".join(corrections.COLUMNS) + "\n")
    assert last_run.read_corrections(checked, file) == ()
    file.unlink()
    last_run.record(checked, *results, options | {"corrections": "mine.csv"}, 3)
    assert last_run.read_corrections(checked, file) == ()  # those were in another file
    last_run.record(checked, *results, options)
    assert last_run.read_corrections(checked, file) == ()
