"""NightlyRetrain: which steps run again, and when a night is complete."""

import datetime
import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import luigi
import pandas as pd
import pytest

from pipeline.nightly import current_model, history, promotion
from pipeline.photos import corrections, split
from pipeline.photos.corrections import Correction
from tasks import ExportModel, NightlyRetrain
from tests.support.photos import PhotoMaker
from tests.support.steps import Pipeline

FIRST, SECOND, THIRD = (datetime.date(2026, 11, day) for day in (1, 2, 3))


class Nightly(Pipeline):
    task_class = NightlyRetrain


@pytest.fixture
def pipeline(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Iterator[Nightly]:
    nightly = Nightly(
        image_dir=photo_dir, tfhub_module=str(tiny_module), output_dir=tmp_path / "out"
    )
    assert {"ExportModel", "NightlyRetrain"} <= set(nightly.run(date=FIRST))
    yield nightly


def nights(pipeline: Nightly) -> list[tuple[str, str]]:
    return [(n.date, n.outcome) for n in history.nights(pipeline.options["output_dir"])]


def test_a_night_that_is_done_is_not_done_again(pipeline: Nightly) -> None:
    assert pipeline.run(date=FIRST) == []
    assert nights(pipeline) == [("2026-11-01", "promoted")]


def test_a_night_without_new_photos_writes_its_row_and_no_more(pipeline: Nightly) -> None:
    assert pipeline.run(date=SECOND) == ["NightlyRetrain"]
    assert nights(pipeline)[-1] == ("2026-11-02", "unchanged")
    assert any("2026-11-02 unchanged: nothing changed" in line for line in pipeline.lines)


def test_photos_that_came_during_the_day_make_the_night_undone(
    pipeline: Nightly, photo_dir: Path, make_photo: PhotoMaker
) -> None:
    make_photo(photo_dir / "red_rose/new.jpg", 1, 99)
    assert "NightlyRetrain" in pipeline.run(date=FIRST)
    assert nights(pipeline) == [("2026-11-01", "promoted")] * 2


def test_a_stricter_gate_decides_anew_and_refuses(
    pipeline: Nightly, mislabel: Callable[[], None]
) -> None:
    mislabel()
    out = pipeline.options["output_dir"]
    before = current_model.get(out)
    assert "NightlyRetrain" in pipeline.run(date=FIRST, assert_accuracy_at_least=1)
    assert nights(pipeline)[-1] == ("2026-11-01", "refused")
    assert current_model.get(out) == before


def test_a_refused_model_is_promoted_by_hand_with_export_model(
    pipeline: Nightly, mislabel: Callable[[], None]
) -> None:
    mislabel()
    pipeline.run(date=FIRST, assert_accuracy_at_least=1)
    by_hand = Pipeline(**pipeline.options)
    assert by_hand.run() == ["ExportModel"]
    out = pipeline.options["output_dir"]
    refused = history.nights(out)[-1].model
    current = current_model.get(out)
    assert current is not None
    assert current.name == refused
    assert [p.how for p in history.promotions(out)] == ["nightly", "by hand"]


def test_renamed_files_do_not_stop_an_equally_good_model(options: dict[str, Any]) -> None:
    """The hash of the new names makes many of yesterday's training photos test photos."""
    nightly = Nightly(**options, testing_percentage=30)
    nightly.run(date=FIRST)
    for number, photo in enumerate(sorted(options["image_dir"].rglob("*.jpg"))):
        photo.rename(photo.with_name(f"renamed {number}.jpg"))
    nightly.run(date=SECOND)
    assert nights(nightly) == [("2026-11-01", "promoted"), ("2026-11-02", "promoted")]
    assert "each model was measured on its own" in history.nights(options["output_dir"])[1].reason


def test_a_renamed_class_is_rejected_until_a_person_runs_the_command(
    pipeline: Nightly, photo_dir: Path
) -> None:
    out = pipeline.options["output_dir"]
    (photo_dir / "red_rose").rename(photo_dir / "roses")
    pipeline.run(date=SECOND)
    night = history.nights(out)[-1]
    assert (night.outcome, night.broken) == (history.REFUSED, 0)
    assert night.reasons[0] == "class red_rose was renamed to roses (24 of its 24 photos)"
    assert f"make promote MODEL={night.model} OUTPUT_DIR={out}" in night.reasons[-1]
    promotion.promote_named(out, night.model)
    assert pipeline.run(date=THIRD) == ["NightlyRetrain"]
    assert nights(pipeline)[-1] == ("2026-11-03", "unchanged")


def test_many_labels_corrected_on_purpose_do_not_stop_the_model(options: dict[str, Any]) -> None:
    photo_dir, out = options["image_dir"], options["output_dir"]
    nightly = Nightly(**options, testing_percentage=30)
    nightly.run(date=FIRST)
    labels = {"green leaf": "red_rose", "red_rose": "green leaf"}
    lines = [
        Correction(hashlib.sha256(photo.read_bytes()).hexdigest(), "", "relabel", labels[label])
        for label in labels
        for photo in sorted((photo_dir / label).iterdir())
    ]
    corrections.append(out.parent / corrections.FILE, lines)
    nightly.run(date=SECOND)
    night = history.nights(out)[-1]
    assert (night.outcome, night.relabelled) == (history.PROMOTED, 48)
    start = "corrections relabelled 48 photos: green leaf/0.jpg from green leaf to red_rose, "
    assert night.reasons[-1].startswith(start)


def test_lost_corrections_are_named_and_a_lost_file_stops_the_night(
    pipeline: Nightly, photo_dir: Path
) -> None:
    out = pipeline.options["output_dir"]
    file = out.parent / corrections.FILE
    photos = sorted((photo_dir / "red_rose").iterdir())[:12]
    digests = [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos]
    corrections.append(file, [Correction(digest, "", "relabel", "tulip") for digest in digests])
    assert Pipeline(**pipeline.options).run()
    pipeline.run(date=SECOND)
    reason = history.nights(out)[-1].reason
    assert "nothing changed" not in reason
    assert "was the current one already: it was promoted by hand (make train" in reason

    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-7]))
    pipeline.run(date=THIRD)
    reason = history.nights(out)[-1].reason
    withdrawn = "7 corrections were withdrawn: red_rose/13.jpg is red_rose again instead of tulip"
    assert withdrawn in reason
    assert "split" not in reason
    assert any(line.startswith(withdrawn) for line in pipeline.lines)

    file.unlink()
    with pytest.raises(AssertionError):
        pipeline.run(date=THIRD)
    assert any(
        f"{file} is gone, but the last run applied its 5 lines; restore it" in line
        for line in pipeline.lines
    )
    file.write_text(",".join(corrections.COLUMNS) + "\n")
    pipeline.run(date=THIRD)
    assert "5 corrections were withdrawn" in history.nights(out)[-1].reason


def test_a_model_of_an_earlier_version_is_replaced(
    pipeline: Nightly, photo_dir: Path, make_photo: PhotoMaker
) -> None:
    out = pipeline.options["output_dir"]
    earlier = current_model.get(out)
    assert earlier is not None
    assert set(pd.read_parquet(earlier / "photos.parquet")["split"]) == set(split.SPLITS)
    (earlier / "photos.parquet").unlink()
    make_photo(photo_dir / "red_rose/new.jpg", 1, 99)
    pipeline.run(date=SECOND)
    assert nights(pipeline)[-1] == ("2026-11-02", "promoted")


def test_lost_bottlenecks_are_made_again_for_the_gate(pipeline: Nightly) -> None:
    (lost,) = pipeline.options["output_dir"].glob("bottlenecks/*/red*")
    shutil.rmtree(lost)
    assert pipeline.run(date=SECOND) == ["ComputeBottlenecks", "NightlyRetrain"]


def test_the_page_is_linked_where_it_can_be_read(pipeline: Nightly) -> None:
    urls: list[str] = []
    task = NightlyRetrain(**pipeline.options, date=SECOND, page_url="http://127.0.0.1:8083/")
    task.set_tracking_url = urls.append
    task.set_status_message = task.set_progress_percentage = None
    task.run()
    assert urls == ["http://127.0.0.1:8083/history.html"]


def test_how_failures_are_treated_is_no_part_of_a_nights_identity(tmp_path: Path) -> None:
    def identity(**options: Any) -> str:
        return str(NightlyRetrain(date=FIRST, output_dir=tmp_path, **options).task_id)

    assert identity(retries=5, retry_delay=1.0, page_url="x") == identity()
    assert identity(tolerance=2.0) != identity()
    assert identity(l2=0.5) != identity()
    assert ExportModel(promote=False).task_id != ExportModel().task_id


def test_the_schedulers_page_shows_what_differs_from_luigi_cfg(tmp_path: Path) -> None:
    task: Any = NightlyRetrain(date=FIRST, output_dir=tmp_path, l2=0.5)
    public = luigi.parameter.ParameterVisibility.PUBLIC.value
    shown = {name for name, value in task._get_param_visibilities().items() if value == public}
    assert shown == {"date", "output_dir", "l2"}


def test_the_row_and_current_agree_after_each_night(pipeline: Nightly) -> None:
    out = pipeline.options["output_dir"]
    with sqlite3.connect(out / history.FILE) as database:
        (model,) = database.execute("select model from nights").fetchone()
    database.close()
    current = current_model.get(out)
    assert current is not None
    assert current.name == model
