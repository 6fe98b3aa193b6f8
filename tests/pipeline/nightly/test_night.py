"""The end of a night: the decision, and the row that says so."""

import datetime
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bottlenecks import reader, recipe
from pipeline.evaluation import model_photos
from pipeline.files import timings
from pipeline.head import softmax_head, training
from pipeline.head.settings import Settings
from pipeline.modules import preparation
from pipeline.modules.loading import Module
from pipeline.nightly import current_model, history, night, promotion
from pipeline.nightly.night import Results
from pipeline.nightly.promotion_gate import Gate
from pipeline.photos import manifest, split
from pipeline.photos.split import SplitRule
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import tf1_module
from tests.support.store import Store, saved, write_figures

GATE = Gate(0.5, 0.01)


class Nights:
    """Runs what a night consists of, without Luigi and without the export."""

    def __init__(self, store: Store, out: Path) -> None:
        self.store, self.out = store, out
        store.rule = SplitRule(20, 20)
        store.path = out / "bottlenecks"
        (out / "manifests").mkdir(parents=True)

    def run(self, date: str, gate: Gate = GATE) -> history.Night:
        results = self.results()
        return night.decide(results, datetime.date.fromisoformat(date), gate)

    def use(self, module: Module) -> None:
        """Make the following nights use another module."""
        self.store.recipe = replace(self.store.recipe, module=module)

    def results(self) -> Results:
        store, out = self.store, self.out
        store.path.mkdir(exist_ok=True)
        store.run()
        name = f"{store.summary().digest}-{store.recipe.key}"
        (store.path / "manifest.parquet").replace(out / "manifests" / f"{name}.parquet")
        classes = store.directories()
        (store.path / "manifest.parquet").unlink()
        model = out / "models" / name
        if not model.exists():
            parts = [reader.SplitReader(classes, part) for part in split.SPLITS]
            passes = (part.labelled for part in parts[:2])
            trained, record = training.train(*passes, Settings(l2=0.1))
            photos = model_photos.of_manifest(manifest.read(out / "manifests" / f"{name}.parquet"))
            write_figures(trained, parts[2], saved(model), photos)
            softmax_head.write(trained, record, out / "heads" / name)
            shutil.copytree(out / "heads" / name, model, dirs_exist_ok=True)
            recipe.write(store.recipe, model)
        path = out / "manifests" / f"{name}.parquet"
        return Results(store.image_dir, out, path, classes, store.recipe, model, model, model)


@pytest.fixture
def nights(store: Store, tmp_path: Path) -> Nights:
    return Nights(store, tmp_path / "out")


def test_the_first_model_is_promoted_and_written_down(nights: Nights) -> None:
    first = nights.run("2026-11-01")
    assert first.outcome == history.PROMOTED
    assert first.reason == "the first model, with none to compare it with"
    assert (first.photos, first.classes, first.arrived, first.gone) == (48, 2, 48, 0)
    assert first.top1 == 1
    assert first.disk_bytes is not None
    assert first.disk_bytes > 1000
    current = current_model.get(nights.out)
    assert current is not None
    assert current.name == first.model
    (written,) = history.nights(nights.out)
    assert written.reason == first.reason


def test_a_night_without_a_change_says_so(nights: Nights) -> None:
    nights.run("2026-11-01")
    second = nights.run("2026-11-02")
    assert (second.outcome, second.arrived, second.gone) == (history.UNCHANGED, 0, 0)
    assert second.seconds == {}
    assert len(history.promotions(nights.out)) == 1


def test_a_first_night_with_a_date_in_the_future_has_durations(nights: Nights) -> None:
    head = nights.out / "heads" / nights.results().head.name
    for step, target in (("TrainHead", head), ("CheckData", nights.out / "checks/x.parquet")):
        timings.add(nights.out, step, target, 1.5)
    tomorrow = datetime.date.today() + datetime.timedelta(1)
    assert nights.run(tomorrow.isoformat()).seconds == {"TrainHead": 1.5, "CheckData": 1.5}


def test_new_photos_make_a_model_that_is_compared(nights: Nights, make_photo: PhotoMaker) -> None:
    nights.run("2026-11-01")
    for seed in range(100, 110):
        make_photo(nights.store.image_dir / "red_rose" / f"{seed}.jpg", 1, seed)
    second = nights.run("2026-11-02")
    assert (second.outcome, second.arrived, second.fixed, second.broken) == (
        history.PROMOTED,
        10,
        0,
        0,
    )
    assert second.drift is not None
    assert second.reason == "0 fixes, 0 regressions on 16 test photos"


def test_another_module_is_named_in_the_history(nights: Nights, tmp_path: Path) -> None:
    nights.run("2026-11-01")
    nights.use(preparation.prepare(str(tf1_module(tmp_path / "other")), tmp_path))
    second = nights.run("2026-11-02")
    figures, change = second.reasons
    assert "regressions on" in figures
    assert change.startswith("the module changed from ")
    assert change.endswith("other at 8 x 8 pixels")
    assert history.nights(nights.out)[-1].reason == second.reason


def test_swapped_labels_are_refused_and_the_old_model_stays(nights: Nights) -> None:
    first = nights.run("2026-11-01")
    photos = nights.store.image_dir
    (photos / "red_rose").rename(photos / "other")
    (photos / "green leaf").rename(photos / "red_rose")
    (photos / "other").rename(photos / "green leaf")
    second = nights.run("2026-11-02")
    assert (second.outcome, second.relabelled) == (history.REFUSED, 48)
    assert "with the earlier labels" in second.reason
    current = current_model.get(nights.out)
    assert current is not None
    assert current.name == first.model


def test_after_all_files_are_renamed_an_equally_good_model_is_promoted(nights: Nights) -> None:
    """The hash of the new names makes yesterday's training photos today's test photos."""
    nights.run("2026-11-01")
    for number, photo in enumerate(sorted(nights.store.image_dir.rglob("*.jpg"))):
        photo.rename(photo.with_name(f"renamed {number}.jpg"))
    second = nights.run("2026-11-02")
    assert (second.outcome, second.arrived, second.relabelled) == (history.PROMOTED, 0, 0)
    figures, why = second.reasons
    assert figures.startswith("100.0% of ")
    assert why.startswith("each model was measured on its own test photos, as one of the models")


def test_a_renamed_class_is_rejected_with_the_command_that_promotes_it(nights: Nights) -> None:
    first = nights.run("2026-11-01")
    photos = nights.store.image_dir
    (photos / "red_rose").rename(photos / "roses")
    second = nights.run("2026-11-02")
    assert second.outcome == history.REFUSED
    assert second.reasons == [
        "class red_rose was renamed to roses (24 of its 24 photos)",
        "with the new names of the classes, 0 fixes, 0 regressions on 14 test photos",
        f"to promote it all the same: make promote MODEL={second.model} OUTPUT_DIR={nights.out}",
    ]
    assert (second.fixed, second.broken) == (0, 0)
    current = current_model.get(nights.out)
    assert current is not None
    assert current.name == first.model
    promotion.promote_named(nights.out, second.model)
    third = nights.run("2026-11-03")
    assert (third.outcome, third.model) == (history.UNCHANGED, second.model)


def test_photos_that_look_otherwise_are_flagged(nights: Nights, make_photo: PhotoMaker) -> None:
    nights.run("2026-11-01")
    for seed in range(100, 130):
        make_photo(nights.store.image_dir / "red_rose" / f"{seed}.jpg", 2, seed)
    second = nights.run("2026-11-09")
    assert second.drift == 0.001
    (flag,) = [flag for flag in second.flags if "Drift" in flag]
    assert "since 2026-11-01" in flag


def test_a_model_that_a_person_left_is_not_promoted_again(
    nights: Nights, make_photo: PhotoMaker
) -> None:
    nights.run("2026-11-01")
    make_photo(nights.store.image_dir / "red_rose/100.jpg", 1, 100)
    nights.run("2026-11-02")
    promotion.rollback(nights.out)
    third = nights.run("2026-11-03")
    assert third.outcome == history.REFUSED
    assert "this model was rolled back earlier" in third.reason


def test_a_run_killed_between_moving_current_and_the_history_is_made_good(
    nights: Nights, make_photo: PhotoMaker
) -> None:
    nights.run("2026-11-01")
    make_photo(nights.store.image_dir / "red_rose/100.jpg", 1, 100)
    promotion.promote(nights.out, nights.results().model, promotion.NIGHTLY)
    second = nights.run("2026-11-02")
    assert (second.outcome, second.broken) == (history.PROMOTED, 0)
    assert [p.model for p in history.promotions(nights.out)][-1] == second.model


def test_the_key_is_over_the_date_the_model_and_the_gate(tmp_path: Path) -> None:
    date = datetime.date(2026, 11, 1)
    keys = {
        night.key(date, tmp_path / "a", GATE),
        night.key(date, tmp_path / "b", GATE),
        night.key(date, tmp_path / "a", Gate(0.6, 0.01)),
        night.key(datetime.date(2026, 11, 2), tmp_path / "a", GATE),
    }
    assert len(keys) == 4
    assert night.key(date, tmp_path / "other/a", GATE) in keys


def test_without_the_earlier_manifests_all_photos_have_arrived(nights: Nights) -> None:
    nights.run("2026-11-01")
    results = nights.results()
    history_before = history.nights(nights.out)
    assert night._latest(nights.out, history_before) is not None
    manifest_path = results.manifest
    manifest_path.unlink()
    assert night._latest(nights.out, history_before) is None
