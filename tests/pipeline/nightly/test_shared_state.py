"""Which model is current, and the history, between machines that share an S3 server on loopback."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import OutageError, UserError
from pipeline.files import object_store, output_store
from pipeline.nightly import current_model, history, promotion, shared_state
from pipeline.prediction import single
from tests.support.objects import Fault, Objects
from tests.support.photos import PhotoMaker
from tests.support.store import saved

URL = "s3://bucket/out"


@pytest.fixture
def machine(
    objects: Objects,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Path]:
    """Gives the output folder of one more machine."""
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)
    count = iter(range(9))
    return lambda: output_store.local_folder(URL, tmp_path / f"machine {next(count)}")


def promote(output_dir: Path, name: str) -> Path:
    """As ExportModel does."""
    model, store = saved(output_dir / "models" / name, name), output_store.open_store(output_dir)
    assert store
    store.upload([model])
    shared_state.pull(output_dir)
    history.add(output_dir, promotion=promotion.promote(output_dir, model, promotion.MANUAL))
    shared_state.share_model(output_dir)
    shared_state.share_history(output_dir)
    return model


def now(output_dir: Path) -> str:
    current = current_model.get(output_dir)
    return current.name if current else ""


def test_a_folder_of_this_machine_is_left_alone(tmp_path: Path) -> None:
    model = saved(tmp_path / "models/1")
    promotion.promote(tmp_path, model, promotion.MANUAL)
    before = sorted(tmp_path.rglob("*"))
    shared_state.pull(tmp_path)
    shared_state.share_model(tmp_path)
    shared_state.share_history(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert shared_state.resolve_model(f"{tmp_path}/current") == tmp_path / "current"


def test_another_machine_follows(machine: Callable[[], Path]) -> None:
    here, there = machine(), machine()
    shared_state.pull(there)
    assert now(there) == ""
    for name in ("1", "2"):
        promote(here, name)
        shared_state.pull(there)
        assert now(there) == name
        assert (there / "serving" / name / "saved_model.pb").read_text() == name
    assert history.promotions(there) == history.promotions(here)


def test_what_a_killed_run_did_here_alone_is_as_if_it_had_not_been(
    machine: Callable[[], Path],
) -> None:
    here = machine()
    promote(here, "1")
    model = saved(here / "models/2")
    history.add(here, promotion=promotion.promote(here, model, promotion.MANUAL))
    assert now(here) == "2"
    shared_state.pull(here)
    assert now(here) == "1"
    assert [move.model for move in history.promotions(here)] == ["1"]


def test_a_current_model_that_the_store_has_lost_is_none(machine: Callable[[], Path]) -> None:
    here, there = machine(), machine()
    model, store = promote(here, "1"), output_store.open_store(here)
    assert store
    shared_state.pull(there)
    store.remove(model)
    third = machine()
    shared_state.pull(third)
    assert now(third) == ""
    assert now(there) == "1"  # which has it still


def test_one_goes_back_from_any_machine(machine: Callable[[], Path]) -> None:
    here, there = machine(), machine()
    promote(here, "1")
    promote(here, "2")
    assert promotion.rollback(there) == ("2", "1")
    shared_state.pull(here)
    assert now(here) == "1"
    assert promotion.was_rolled_back(here, here / "models/2")
    with pytest.raises(UserError, match="no earlier model"):
        promotion.rollback(machine())


def test_a_model_is_promoted_from_a_machine_that_did_not_train_it(
    machine: Callable[[], Path],
) -> None:
    here, there = machine(), machine()
    promote(here, "1")
    promote(here, "2")
    assert promotion.command(there, there / "models/1").endswith(f"MODEL=1 OUTPUT_DIR={URL}")
    promotion.promote_named(there, "1")
    shared_state.pull(here)
    assert now(here) == "1"
    with pytest.raises(UserError, match=f"there is no model 'none' in {URL}/models"):
        promotion.promote_named(there, "none")


def test_going_back_that_breaks_off_is_ended_by_going_back_again(
    machine: Callable[[], Path], objects: Objects
) -> None:
    here = machine()
    promote(here, "1")
    promote(here, "2")
    objects.faults = [Fault("PUT .*/current.json", 500)]
    with pytest.raises(OutageError):
        promotion.rollback(here)
    objects.faults = []
    there = machine()
    shared_state.pull(there)
    assert now(there) == "2"
    assert promotion.rollback(there) == ("2", "1")
    assert now(there) == "1"


def test_a_promotion_whose_history_is_missing_is_known(
    machine: Callable[[], Path], objects: Objects
) -> None:
    here = machine()
    promote(here, "1")
    objects.faults = [Fault("PUT .*/history.sqlite", 500)]
    with pytest.raises(OutageError):
        promote(here, "2")
    objects.faults = []
    there = machine()
    shared_state.pull(there)
    recorded = promotion.recorded_model(there)
    assert now(there) == "2"
    assert recorded
    assert recorded.name == "1"
    assert [move.model for move in history.promotions(there)] == ["1"]


@pytest.mark.slow
def test_a_model_is_used_by_its_url(
    machine: Callable[[], Path],
    colours: Path,
    make_photo: PhotoMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    here = machine()
    model, store = here / "models/0123456789ab", output_store.open_store(here)
    assert store
    shutil.copytree(colours, model)
    store.upload([model])
    promotion.promote(here, model, promotion.MANUAL)
    shared_state.share_model(here)
    assert shared_state.resolve_model(f"{URL}/models/{model.name}").samefile(
        output_store.local_folder(URL) / "models" / model.name
    )
    photo = make_photo(tmp_path / "red.jpg", 0)
    command = [
        sys.executable,
        "-m",
        "pipeline.prediction.single",
        "--model",
        f"{URL}/current",
        photo,
    ]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["100.00%", "red"]


@pytest.mark.usefixtures("machine")
def test_a_url_that_leads_to_no_model_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no model in"):
        single.predict(tmp_path / "1.jpg", shared_state.resolve_model(f"{URL}/current"))
