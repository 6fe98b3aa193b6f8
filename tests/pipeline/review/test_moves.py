"""Moving files to the classes of corrections, and back."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.photos import corrections, manifest
from pipeline.photos.corrections import Correction
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from pipeline.review import moves
from pipeline.review.moves import Move
from tests.support.photos import PhotoMaker
from tests.support.tars import pack_folder


def rows(folder: Path) -> pd.DataFrame:
    return manifest.build(list_photos(folder), folder, SplitRule()).to_pandas()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_files_are_moved_to_free_names_and_back(
    photo_dir: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    make_photo(tmp_path / "uploads/new.jpg", 1, 77)
    before, photos = contents(tmp_path), rows(photo_dir)
    digest = photos.set_index("path")["digest"]
    upload = sha256(tmp_path / "uploads/new.jpg")
    lines = [
        Correction(digest["red_rose/3.jpg"], "red_rose/3.jpg", "relabel", "green leaf"),
        Correction(digest["red_rose/4.jpg"], "red_rose/4.jpg", "exclude"),
        Correction(digest["red_rose/5.jpg"], "red_rose/5.jpg", "relabel", "red_rose"),
        Correction(digest["red_rose/6.jpg"], "red_rose/6.jpg", "relabel", "tulip"),
        Correction(upload, str(tmp_path / "uploads/new.jpg"), "relabel", "red_rose"),
    ]
    planned = list(moves.plan(lines, photos, photo_dir))
    assert contents(tmp_path) == before  # the plan changes nothing
    assert not [step for step in planned if isinstance(step, str)]
    wanted = [step for step in planned if isinstance(step, Move)]
    undo_list = tmp_path / "moves.csv"
    moves.carry_out(wanted, undo_list)
    after = contents(tmp_path)
    assert after["photos/green leaf/3-2.jpg"] == before["photos/red_rose/3.jpg"]
    assert after["photos-excluded/red_rose/4.jpg"] == before["photos/red_rose/4.jpg"]
    assert after["photos/red_rose/new.jpg"] == after["uploads/new.jpg"]
    assert not {"photos/red_rose/3.jpg", "photos/red_rose/4.jpg"} & set(after)
    assert list(moves.plan(lines, photos, photo_dir)) == []  # they were made
    assert list(moves.plan(lines, rows(photo_dir), photo_dir)) == []
    reverted, problems = moves.undo(undo_list)
    assert (len(reverted), problems) == (4, [])
    undo_list.unlink()
    assert contents(tmp_path) == before
    assert not (photo_dir / "tulip").exists()
    assert not (tmp_path / "photos-excluded").exists()


def test_the_folder_of_a_class_goes_with_its_last_photo(photo_dir: Path, tmp_path: Path) -> None:
    photos = rows(photo_dir)
    members = photos[photos["label"] == "red_rose"]
    lines = [Correction(digest, "", "relabel", "rose") for digest in members["digest"]]
    wanted = [step for step in moves.plan(lines, photos, photo_dir) if isinstance(step, Move)]
    moves.carry_out(wanted, tmp_path / "moves.csv")
    assert not (photo_dir / "red_rose").exists()
    moves.undo(tmp_path / "moves.csv")
    assert len(list((photo_dir / "red_rose").iterdir())) == len(members)


@pytest.fixture
def run(
    checked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command on the output folder, and return what it prints."""

    def run(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["moves", "--output-dir", str(checked), *options])
        moves.main()
        return capsys.readouterr().out

    return run


def test_the_commands_of_moving_and_back(
    run: Callable[..., str],
    checked: Path,
    make_photo: PhotoMaker,
    photo_dir: Path,
    tmp_path: Path,
) -> None:
    upload = make_photo(tmp_path / "uploads/new.jpg", 1, 77)
    lines = [Correction(sha256(photo_dir / "red_rose/4.jpg"), "red_rose/4.jpg", "exclude")]
    lines.append(Correction(sha256(upload), str(upload), "relabel", "red-rose"))
    corrections.append(tmp_path / corrections.FILE, lines)
    before = contents(photo_dir)
    command = f"make apply-corrections OUTPUT_DIR={checked}"
    assert f"1 file to move, 1 file to copy. To do that:\n    {command} APPLY=1" in run()
    assert "red-rose is a new class; did you mean red_rose?" in run()
    applied = run("--apply")
    assert f"1 file moved, 1 file copied. To undo that:\n    {command} UNDO=" in applied
    assert "make train IMAGE_DIR=" in applied
    assert run("--apply") == "There is nothing to move\n"
    (undo_list,) = tmp_path.glob("moves-*.csv")
    gone = "but photos whose copies were deleted are no longer part of the training\n"
    stay = f"The lines in corrections.csv stay: training still applies them, {gone}"
    undone = run("--undo", undo_list.name)
    assert undone == f"1 file moved back, 1 file deleted again\n{stay}"
    assert contents(photo_dir) == before
    again = run("--undo", undo_list.name)
    assert again == f"Nothing to move back: this list was undone already\n{stay}"
    (photo_dir / "red_rose/4.jpg").unlink()
    assert "4.jpg is not there any more\n0 files moved back\n" in run("--undo", undo_list.name)


def test_what_training_makes_of_the_lines_after_undo(
    run: Callable[..., str], make_photo: PhotoMaker, photo_dir: Path, tmp_path: Path
) -> None:
    upload, target = make_photo(tmp_path / "new.jpg", 1, 77), photo_dir / "red_rose/new.jpg"
    copy = Move(moves.COPY, str(upload), str(target), sha256(upload))
    (move,) = relabelled(photo_dir, "red_rose/3.jpg")

    def last_line(*wanted: Move) -> str:
        moves.carry_out(wanted, tmp_path / "moves.csv")
        return run("--undo", str(tmp_path / "moves.csv")).splitlines()[-1]

    stay = "The lines in corrections.csv stay"
    assert last_line(move) == f"{stay}: training still applies them"
    gone = "but photos whose copies were deleted are no longer part of the training"
    assert last_line(copy) == f"{stay}, {gone}"
    assert last_line(move, copy) == f"{stay}: training still applies them, {gone}"


def test_an_interruption_names_the_command_that_moves_the_files_back(
    checked: Path,
    photo_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    paths = [photo_dir / f"red_rose/{number}.jpg" for number in (3, 4, 5)]
    lines = [Correction(sha256(path), f"red_rose/{path.name}", "exclude") for path in paths]
    corrections.append(tmp_path / corrections.FILE, lines)
    before, real = contents(photo_dir), moves._move
    left = [True, False]

    def interrupted(source: Path, target: Path) -> None:
        if not left.pop(0):
            raise KeyboardInterrupt
        real(source, target)

    def run(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["moves", "--output-dir", str(checked), *options])
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr(moves, "_move", interrupted)
            moves.main()
        assert stopped.value.code == 130
        return capsys.readouterr().err

    message = run("--apply")
    (undo_list,) = tmp_path.glob("moves-*.csv")
    command = f"make apply-corrections OUTPUT_DIR={checked} UNDO={undo_list}"
    assert message == f"Interrupted. 1 of 3 files moved or copied; to undo that: {command}\n"
    left[:] = [False]
    assert "back, run the same command again" in run("--undo", str(undo_list))
    moves.undo(undo_list)
    assert contents(photo_dir) == before
    undo_list.unlink()
    left[:] = [False]
    assert run("--apply") == "Interrupted. 0 of 3 files moved or copied\n"
    assert list(tmp_path.glob("moves-*.csv")) == []


def test_a_class_without_a_folder_is_announced_after_the_run_that_made_it(
    run: Callable[..., str], checked: Path, photo_dir: Path, tmp_path: Path
) -> None:
    line = Correction(sha256(photo_dir / "red_rose/3.jpg"), "red_rose/3.jpg", "relabel", "tulip")
    corrections.append(tmp_path / corrections.FILE, [line])
    table = manifest.build(list_photos(photo_dir), photo_dir, SplitRule(), corrected=[line])
    manifest.write(table, checked / "manifests/0123456789ab.parquet")
    assert "\ntulip is a new class\n" in run()
    (photo_dir / "tulip").mkdir()
    assert "new class" not in run()


def relabelled(photo_dir: Path, *names: str) -> list[Move]:
    photos = rows(photo_dir)
    digest = photos.set_index("path")["digest"]
    lines = [Correction(digest[name], name, "relabel", "tulip") for name in names]
    return [step for step in moves.plan(lines, photos, photo_dir) if isinstance(step, Move)]


@pytest.mark.parametrize("folder", ["photos", "photos/red_rose"])
def test_nothing_is_moved_if_a_folder_is_read_only(
    photo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    wanted = relabelled(photo_dir, "green leaf/3.jpg", "red_rose/3.jpg")
    before = contents(tmp_path)
    # Permissions would not stop root.
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path / folder)
    with pytest.raises(UserError, match=f"^{tmp_path / folder} is read-only, .* `make train`"):
        moves.carry_out(wanted, tmp_path / "moves.csv")
    assert contents(tmp_path) == before


def test_nothing_is_moved_without_a_list(photo_dir: Path, tmp_path: Path) -> None:
    wanted = relabelled(photo_dir, "red_rose/3.jpg")
    (tmp_path / "file").touch()
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"cannot write .*/file/moves\.csv \(.*nothing was moved"):
        moves.carry_out(wanted, tmp_path / "file/moves.csv")
    assert contents(tmp_path) == before


def keep_files(monkeypatch: pytest.MonkeyPatch, *kept: Path) -> None:
    """Refuse to rename or delete some files, as a folder of another user may do."""

    def refusing(name: str) -> None:
        real = getattr(os, name)

        def call(path: Path, *more: Path, **options: int) -> None:
            if Path(path) in kept:
                raise PermissionError(1, "Operation not permitted")
            real(path, *more, **options)

        monkeypatch.setattr(os, name, call)

    refusing("rename")
    refusing("unlink")


def test_a_failed_move_leaves_no_copy(
    photo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = relabelled(photo_dir, "red_rose/3.jpg", "red_rose/4.jpg")
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        keep_files(patch, *(Path(move.source) for move in wanted))
        with pytest.raises(UserError, match=r"\(Operation not permitted\), so nothing was moved"):
            moves.carry_out(wanted, tmp_path / "moves.csv")
    assert contents(tmp_path) == before
    assert not (photo_dir / "tulip").exists()
    with monkeypatch.context() as patch:
        keep_files(patch, Path(wanted[1].source))
        with pytest.raises(UserError, match=r"files before it back, pass UNDO=.*moves\.csv$"):
            moves.carry_out(wanted, tmp_path / "moves.csv")
    assert list((photo_dir / "tulip").iterdir()) == [Path(wanted[0].target)]
    with monkeypatch.context() as patch:
        keep_files(patch, Path(wanted[0].target))
        with pytest.raises(UserError, match="cannot undo"):
            moves.undo(tmp_path / "moves.csv")
    assert not Path(wanted[0].source).exists()
    assert moves.undo(tmp_path / "moves.csv") == ([wanted[0]], [])
    (tmp_path / "moves.csv").unlink()
    assert contents(tmp_path) == before


def test_a_photo_that_has_changed_stays(photo_dir: Path) -> None:
    photos = rows(photo_dir)
    (photo_dir / "red_rose/3.jpg").write_bytes(b"another photo")
    digest = photos.set_index("path")["digest"]["red_rose/3.jpg"]
    line = Correction(digest, "red_rose/3.jpg", "exclude")
    (problem,) = moves.plan([line], photos, photo_dir)
    assert "has changed" in str(problem)


def test_a_photo_that_cannot_be_read_stays(
    photo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = rows(photo_dir)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (problem,) = moves.plan([Correction(photos["digest"][0], "", "exclude")], photos, photo_dir)
    assert "is not readable, or has changed" in str(problem)


def test_folders_of_splits_are_kept(photo_dir: Path) -> None:
    for part in ("train", "test"):
        (photo_dir / part).mkdir()
    (photo_dir / "red_rose").rename(photo_dir / "train/red_rose")
    (photo_dir / "green leaf").rename(photo_dir / "test/green leaf")
    digest = sha256(photo_dir / "train/red_rose/3.jpg")
    photos = pd.DataFrame({"digest": digest, "path": ["train/red_rose/3.jpg"]})
    (move,) = moves.plan([Correction(digest, "", "relabel", "green leaf")], photos, photo_dir)
    assert isinstance(move, Move)
    assert move.target == str(photo_dir / "train/green leaf/3.jpg")


def test_photos_in_tar_files_stay(photo_dir: Path, tmp_path: Path) -> None:
    packed = pack_folder(photo_dir, tmp_path / "packed")
    photos = rows(packed)
    (problem,) = moves.plan([Correction(photos["digest"][0], "", "exclude")], photos, packed)
    assert "is in a tar file" in str(problem)


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "how,source,target,digest\nmove,a\n", 'how,"\n', "x\nrm,a,b,c\n"]
)
def test_something_else_than_a_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=r"list\.csv is not a complete list of moves"):
        moves.undo(tmp_path / "list.csv")
    with pytest.raises(UserError, match=r"gone\.csv cannot be read: No such file"):
        moves.undo(tmp_path / "gone.csv")
