"""Clean-up: what goes, what stays."""

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from pipeline.bottlenecks import recipe, writer
from pipeline.errors import UserError
from pipeline.files import atomic, disk_usage, naming, output_store
from pipeline.modules import loading
from pipeline.nightly import history, promotion, prune, shared_state
from pipeline.nightly.history import Night
from pipeline.photos import manifest
from pipeline.photos.listing import list_photos
from pipeline.pixels.augmentation import Augmentation
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker
from tests.support.store import Store, saved

LATER = time.time() + 10 * 24 * 3600


@pytest.fixture
def out(store: Store, make_photo: PhotoMaker, tmp_path: Path) -> Path:
    """Three nights, each with one more photo: results of each, the first model promoted."""
    out = tmp_path / "out"
    for number in range(3):
        make_photo(store.image_dir / "red_rose" / f"new-{number}.jpg", 2, 100 + number)
        listing = list_photos(store.image_dir)
        path = out / "manifests" / f"{naming.digest(number)}.parquet"
        manifest.write(manifest.build(listing, store.image_dir, store.rule), path)
        os.utime(path, (time.time() - 60 + number,) * 2)
        rows = manifest.read(path)
        classes = list(manifest.read_summary(path).classes)
        writer.compute(rows, classes, store.image_dir, store.recipe, out / "bottlenecks")
        name = naming.digest("result", number)
        for folder in ("models", "evaluations", "heads"):
            (out / folder / name).mkdir(parents=True)
            (out / folder / name / "file").write_text("some bytes")
        saved(out / "models" / name)
        night = Night("", "refused", "", model=name, evaluation=name, head=name, manifest=path.name)
        first = promotion.promote(out, out / "models" / name, "nightly") if not number else None
        history.add(out, night, first)
    return out


def names(out: Path, keep: int, now: float = LATER) -> list[str]:
    found = prune.find(out, keep, now)
    return sorted(f"{p.path.relative_to(out).parts[0]}/{p.path.name}" for p in found)


def result(number: int) -> str:
    return naming.digest("result", number)


def of_class(out: Path, number: int, label: str) -> str:
    path = out / "manifests" / f"{naming.digest(number)}.parquet"
    summary = manifest.read_summary(path).by_label[label]
    return writer.class_name(summary, Augmentation())


def test_runs_beyond_the_last_go_but_for_the_promoted_model(out: Path) -> None:
    assert names(out, keep=1) == sorted(
        [
            f"models/{result(1)}",
            *(f"{folder}/{result(n)}" for folder in ("evaluations", "heads") for n in (0, 1)),
            *(f"manifests/{naming.digest(n)}.parquet" for n in (0, 1)),
            *(f"bottlenecks/{of_class(out, n, 'red_rose')}" for n in (0, 1)),
        ]
    )


def test_bottlenecks_of_a_kept_manifest_stay(out: Path) -> None:
    assert f"bottlenecks/{of_class(out, 1, 'red_rose')}" not in names(out, keep=2)
    assert f"bottlenecks/{of_class(out, 0, 'red_rose')}" in names(out, keep=2)
    assert names(out, keep=3) == []


def test_nothing_young_goes(out: Path) -> None:
    assert names(out, keep=1, now=time.time()) == []


def test_the_newest_manifest_stays_though_no_night_names_it(out: Path) -> None:
    listed = out / "manifests" / f"{naming.digest(2)}.parquet"
    by_hand = listed.with_name(f"{naming.digest('by hand')}.parquet")
    by_hand.write_bytes(listed.read_bytes())
    assert f"manifests/{by_hand.name}" not in names(out, keep=3)


def test_of_the_unknown_photos_the_last_stay(out: Path) -> None:
    (out / "unknown").mkdir()
    for number in (2, 0, 1):
        path = out / "unknown" / f"{naming.digest(number)}.parquet"
        path.write_bytes(b"")
        os.utime(path, (time.time() - 60 + number,) * 2)
    (out / "unknown/mine.parquet").write_bytes(b"")
    assert names(out, 3) == sorted(f"unknown/{naming.digest(n)}.parquet" for n in (0, 1))


def test_what_is_not_ours_stays_and_what_was_never_finished_goes(out: Path) -> None:
    (out / "models/notes.txt").write_text("mine")
    (out / "models/my model").mkdir()
    unfinished = atomic.temporary(out / "models/abc")
    unfinished.mkdir()
    (out / "reports").mkdir()
    stopped = [f"heads/.{'0' * 12}.unfinished.npz", f"manifests/.unfinished-{'0' * 12}.parquet"]
    for name in stopped:
        (out / name).write_bytes(b"")
    assert names(out, keep=3) == [*stopped, f"models/{unfinished.name}"]


def test_old_journals_go_and_young_ones_stay(out: Path) -> None:
    (home,) = (out / "bottlenecks").iterdir()
    (home / "partial/1-old.parquet").write_bytes(b"")
    assert names(out, keep=3) == ["bottlenecks/1-old.parquet"]
    assert names(out, keep=3, now=time.time()) == []


def test_a_manifest_that_cannot_be_read_stops_nothing(out: Path) -> None:
    (out / "manifests" / f"{naming.digest('cut')}.parquet").write_bytes(b"PAR1")
    assert names(out, keep=3) == [f"manifests/{naming.digest('cut')}.parquet"]


def test_where_the_manifest_of_a_kept_run_is_damaged_nothing_goes(out: Path) -> None:
    damaged = out / "manifests" / f"{naming.digest(2)}.parquet"
    os.truncate(damaged, 100)
    with pytest.raises(
        UserError,
        match=f"{damaged} is damaged, so the bottlenecks that its photos need are unknown",
    ):
        prune.find(out, 3, LATER)


def test_what_was_found_is_gone_afterwards_and_nothing_else(out: Path, store: Store) -> None:
    before = disk_usage.total_bytes(out)
    leftovers = prune.find(out, 1, LATER)
    prune.delete(out, leftovers)
    assert prune.find(out, 1, LATER) == []
    assert disk_usage.total_bytes(out) == before - sum(leftover.size for leftover in leftovers)
    summary = manifest.read_summary(out / "manifests" / f"{naming.digest(2)}.parquet")
    home = out / "bottlenecks"
    for one in summary.classes:
        assert writer.is_complete(writer.class_directory(home, store.recipe, one))
    assert not list(out.rglob("*.tmp"))


def test_it_is_told_what_goes_from_where(out: Path) -> None:
    total, *parts = prune.summary_lines(prune.find(out, 1, LATER), deleted=False)
    assert total.startswith("Would delete: 9 results")
    assert any(f"2 in {out / 'heads'}" in line for line in parts)
    (nothing,) = prune.summary_lines([], deleted=True)
    assert nothing.startswith("Nothing to delete")


def in_a_store(out: Path, work_dir: Path) -> Path:
    """The same output folder in S3: gives a mirror that knows nothing yet."""
    first = output_store.local_folder("s3://bucket/out", work_dir / "first")
    shutil.copytree(out, first, symlinks=True, dirs_exist_ok=True)
    store = output_store.open_store(first)
    newest = first / "manifests" / f"{naming.digest(2)}.parquet"
    for folder in ("models", "evaluations", "heads", "manifests", "bottlenecks/*"):
        store.upload([path for path in first.glob(f"{folder}/[!p]*") if path != newest])
    time.sleep(1.1)  # stores know the time to the second
    store.upload([newest])
    shared_state.share_model(first)
    shared_state.share_history(first)
    return output_store.local_folder("s3://bucket/out", work_dir / "second")


def test_a_machine_that_has_nothing_finds_in_a_store_what_can_go(
    out: Path, objects: Objects, tmp_path: Path
) -> None:
    expected = names(out, keep=1)
    there = in_a_store(out, tmp_path)
    assert names(there, keep=1) == expected
    unfinished = f"models/{naming.digest('killed')}"
    objects.put(f"out/{unfinished}/file", b"as far as it came")
    objects.put("out/models/my model/file", b"mine")
    assert names(there, keep=1) == sorted([*expected, unfinished])
    assert names(there, keep=1, now=time.time()) == []

    leftovers = prune.find(there, 1, LATER)
    assert {leftover.location for leftover in leftovers if leftover.path.name == result(1)} == {
        f"s3://bucket/out/{folder}" for folder in ("models", "evaluations", "heads")
    }
    prune.delete(there, leftovers)
    third = output_store.local_folder("s3://bucket/out", tmp_path / "third")
    store = output_store.open_store(third)
    assert prune.find(third, 1, LATER) == []
    assert set(store.entries(third / "heads")) == {result(2)}
    assert set(store.entries(third / "models")) == {result(0), result(2)}
    assert store.incomplete(third / "models") == {"my model"}
    left = fsspec.filesystem("s3", use_listings_cache=False).find("bucket/out/heads")
    assert [name for name in left if result(1) in name] == []


def test_a_folder_in_which_others_work_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with atomic.write(tmp_path / "folder/result") as temporary:
                temporary.mkdir()
                (temporary / "file").write_bytes(b"")
            shutil.rmtree(tmp_path / "folder")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert {disk_usage.total_bytes(tmp_path) for _ in range(500)} == {4}
    finally:
        stop.set()
        thread.join()


def test_tuned_modules_go_with_their_vectors_unless_a_model_uses_them(
    out: Path, store: Store
) -> None:
    for name, model in (("a" * 12, result(0)), ("b" * 12, "")):
        folder = out / "tuned" / name / "lite"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text("a module")
        module = replace(store.recipe.module, directory=str(folder), digest=name, tuned_from="lite")
        tuned = replace(store.recipe, module=module)
        loading.write(module, out / "modules" / f"lite-{name}.json")
        (out / "modules" / f"lite-{name}.pb").write_text("a graph")
        tuned.directory(out / "bottlenecks").mkdir()
        if model:
            recipe.write(tuned, out / "models" / model)
    (out / "tuned" / ("c" * 12)).mkdir()  # without success, so it contains no module
    found = {path for path in names(out, keep=3) if not path.startswith("models/")}
    vectors = tuned.directory(out / "bottlenecks").name
    unused = "b" * 12
    assert found == {
        f"tuned/{unused}",
        f"modules/lite-{unused}.json",
        f"modules/lite-{unused}.pb",
        f"bottlenecks/{vectors}",
    }
    prune.delete(out, prune.find(out, 3, LATER))
    assert not tuned.directory(out / "bottlenecks").exists()
