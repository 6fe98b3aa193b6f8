"""Promotion and rollback."""

import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import locks
from pipeline.nightly import current_model, history, promotion
from pipeline.nightly.history import Promotion
from pipeline.nightly.promotion import MANUAL, NIGHTLY
from tests.support.commands import ROOT
from tests.support.store import saved


def names(out: Path) -> str:
    current = current_model.get(out)
    return current.name if current else ""


def promote(out: Path, name: str, how: str = NIGHTLY) -> None:
    model = saved(out / "models" / name)
    history.add(out, promotion=promotion.promote(out, model, how))


def test_promotion_moves_current_and_says_from_where(tmp_path: Path) -> None:
    assert current_model.get(tmp_path) is None
    promote(tmp_path, "m1")
    promote(tmp_path, "m2")
    promote(tmp_path, "m2")
    assert names(tmp_path) == "m2"
    assert [(p.model, p.instead_of) for p in history.promotions(tmp_path)] == [
        ("m1", ""),
        ("m2", "m1"),
    ]


def test_rollback_goes_back_step_by_step_and_no_further(tmp_path: Path) -> None:
    for name in ("m1", "m2", "m3"):
        promote(tmp_path, name)
    assert promotion.rollback(tmp_path) == ("m3", "m2")
    assert promotion.rollback(tmp_path) == ("m2", "m1")
    assert names(tmp_path) == "m1"
    with pytest.raises(UserError, match="no earlier model"):
        promotion.rollback(tmp_path)


def test_after_a_rollback_and_a_promotion_one_goes_back_to_the_model_in_between(
    tmp_path: Path,
) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.rollback(tmp_path)
    promote(tmp_path, "m3")
    assert promotion.rollback(tmp_path) == ("m3", "m1")


def test_a_rollback_passes_over_models_that_are_gone(tmp_path: Path) -> None:
    for name in ("m1", "m2", "m3"):
        promote(tmp_path, name)
    shutil.rmtree(tmp_path / "models/m2")
    assert promotion.rollback(tmp_path) == ("m3", "m1")


def test_the_model_that_was_left_is_withdrawn_until_a_person_promotes_it(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.rollback(tmp_path)
    m1, m2 = (tmp_path / "models" / name for name in ("m1", "m2"))
    assert promotion.was_rolled_back(tmp_path, m2)
    assert not promotion.was_rolled_back(tmp_path, m1)
    promote(tmp_path, "m2", MANUAL)
    assert not promotion.was_rolled_back(tmp_path, m2)


def test_a_rollback_that_was_killed_half_way_ends_with_the_same_command(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    history.add(tmp_path, promotion=Promotion(history.now(), "m1", promotion.ROLLBACK, "m2"))
    assert names(tmp_path) == "m2"
    assert promotion.rollback(tmp_path) == ("m2", "m1")
    assert names(tmp_path) == "m1"


def test_a_promotion_that_was_killed_half_way_is_seen(tmp_path: Path) -> None:
    promote(tmp_path, "m1")
    promotion.promote(tmp_path, saved(tmp_path / "models/m2"), NIGHTLY)  # and not written down
    recorded = promotion.recorded_model(tmp_path)
    assert recorded is not None
    assert recorded.name == "m1"
    assert names(tmp_path) == "m2"
    assert promotion.promote(tmp_path, tmp_path / "models/m2", NIGHTLY) is not None


def test_models_that_are_promoted_at_once_leave_one_that_all_agree_on(tmp_path: Path) -> None:
    def promotes(name: str) -> None:
        for _ in range(20):
            with locks.exclusive(tmp_path / locks.PROMOTION):
                promote(tmp_path, name)

    for name in ("m1", "m2", "m3"):  # the files themselves say which model it is
        saved(tmp_path / "models" / name, name)
    with ThreadPoolExecutor() as threads:
        list(threads.map(promotes, ("m1", "m2", "m3")))
    served = max((tmp_path / "serving").iterdir(), key=lambda path: int(path.name))
    assert served.joinpath("saved_model.pb").samefile(
        tmp_path / "current/saved_model/saved_model.pb"
    )
    assert history.promotions(tmp_path)[-1].model == names(tmp_path)


def test_a_rollback_waits_for_a_promotion(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    with ThreadPoolExecutor() as threads:
        with locks.exclusive(tmp_path / locks.PROMOTION):
            rolled = threads.submit(promotion.rollback, tmp_path)
            with pytest.raises(TimeoutError):
                rolled.result(0.2)
            promote(tmp_path, "m3")
        assert rolled.result(30) == ("m3", "m2")


def test_a_model_is_promoted_by_its_name_or_folder(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    rejected = saved(tmp_path / "models/m3")
    assert promotion.promote_named(tmp_path, "m3") == rejected
    assert names(tmp_path) == "m3"
    assert [(p.model, p.how) for p in history.promotions(tmp_path)][-1] == ("m3", MANUAL)
    promotion.promote_named(tmp_path, f"{tmp_path}/models/m1/")
    assert names(tmp_path) == "m1"


@pytest.mark.parametrize("name", ["none", "", "..", "/"])
def test_a_model_that_does_not_exist_is_not_promoted(tmp_path: Path, name: str) -> None:
    promote(tmp_path, "m1")
    with pytest.raises(UserError, match=r"there is no model '.*make history"):
        promotion.promote_named(tmp_path, name)
    assert names(tmp_path) == "m1"


def test_the_shown_command_promotes_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out put"
    model = saved(out / "models/m1")
    program, target, chosen, place = shlex.split(promotion.command(out, model))
    assert (program, target, place) == ("make", "promote", f"OUTPUT_DIR={out}")
    shown = subprocess.run(
        [program, "--no-print-directory", "--dry-run", "-o", "setup", target, chosen, place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]
    arguments = shlex.split(shown)
    assert arguments[1:3] == ["-m", "pipeline.nightly.promotion"]
    monkeypatch.setattr(sys, "argv", arguments[2:])
    promotion.main()
    assert names(out) == "m1"
    assert "Model m1 is the current one now" in capsys.readouterr().out


def test_without_a_name_make_promotes_nothing() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "promote"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "set the model: make promote MODEL=" in done.stderr


def test_without_a_model_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["promotion", "--output-dir", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="there is no folder"):
        promotion.main()
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(sys, "argv", ["promotion", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no earlier model"):
        promotion.main()
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.main()
    assert "Rolled back to model m1." in capsys.readouterr().out
