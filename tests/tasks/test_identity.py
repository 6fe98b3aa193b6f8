"""After a change, exactly the steps that depend on it run again."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.photos import corrections
from pipeline.photos.corrections import Correction
from tasks import SplitDataset
from tests.support.photos import PhotoMaker
from tests.support.steps import STEPS, Pipeline


@pytest.fixture
def pipeline(finished_run: Path, photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Pipeline:
    """Return a pipeline whose steps have all run."""
    out = shutil.copytree(finished_run, tmp_path / "out", symlinks=True)
    shutil.rmtree(out / "manifests")  # the copied photos have other change times
    shutil.rmtree(out / "modules")  # contains paths
    pipeline = Pipeline(image_dir=photo_dir, tfhub_module=str(tiny_module), output_dir=out)
    assert pipeline.run() == ["PrepareModule", "SplitDataset"]
    return pipeline


def test_nothing_runs_when_nothing_changed(pipeline: Pipeline) -> None:
    assert pipeline.run() == []


def test_photos_set_aside_are_counted_again_when_nothing_changed(
    pipeline: Pipeline, photo_dir: Path
) -> None:
    (photo_dir / "red_rose/note.jpg").write_text("no photo")
    pipeline.task_class = SplitDataset
    pipeline.options = {n: pipeline.options[n] for n in ("image_dir", "output_dir")}
    assert pipeline.run() == ["SplitDataset"]
    reminder = "Photos set aside: 1; the column status of "
    assert not [line for line in pipeline.lines if line.startswith(reminder)]
    assert pipeline.run() == []
    assert len([line for line in pipeline.lines if line.startswith(reminder)]) == 1


def test_a_touched_photo_makes_a_new_manifest_and_no_more(
    pipeline: Pipeline, photo_dir: Path
) -> None:
    os.utime(photo_dir / "red_rose/3.jpg")
    assert pipeline.run() == ["SplitDataset"]
    assert pipeline.run() == []


def test_a_replaced_photo_runs_its_class_and_what_follows(
    pipeline: Pipeline, photo_dir: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    before = set(tmp_path.glob("out/bottlenecks/*/green*"))
    make_photo(photo_dir / "red_rose/3.jpg", 2, 99)
    assert pipeline.run() == sorted([*STEPS, "SplitDataset"])
    assert "Bottlenecks: 1 computed, 47 reused" in pipeline.lines
    assert set(tmp_path.glob("out/bottlenecks/*/green*")) == before


def test_a_new_class_runs_what_follows(
    pipeline: Pipeline, photo_dir: Path, make_photo: PhotoMaker
) -> None:
    for seed in range(20):
        make_photo(photo_dir / "sky" / f"{seed}.jpg", 2, seed)
    assert pipeline.run() == sorted([*STEPS, "SplitDataset"])
    assert "Bottlenecks: 20 computed, 48 reused" in pipeline.lines


def test_a_percentage_runs_the_split_and_computes_nothing(pipeline: Pipeline) -> None:
    assert pipeline.run(testing_percentage=20.0) == sorted([*STEPS, "SplitDataset"])
    assert "Bottlenecks: 0 computed, 48 reused" in pipeline.lines


def test_a_head_setting_runs_the_head_and_what_follows(pipeline: Pipeline) -> None:
    assert pipeline.run(l2=0.5) == ["EvaluateModel", "ExportModel", "TrainHead"]
    assert pipeline.run(class_weighting="none") == ["EvaluateModel", "ExportModel", "TrainHead"]


def test_a_damaged_photo_is_a_finding_and_trains_nothing(
    pipeline: Pipeline, photo_dir: Path
) -> None:
    (photo_dir / "red_rose/broken.jpg").write_bytes(b"no photo")
    assert pipeline.run() == ["CheckData", "EvaluateModel", "ExportModel", "SplitDataset"]
    assert pipeline.run() == []


def test_an_export_setting_runs_the_export(pipeline: Pipeline) -> None:
    assert pipeline.run(final_tensor_name="answer") == ["ExportModel"]


def test_the_way_vectors_are_stored_runs_the_bottlenecks(pipeline: Pipeline) -> None:
    assert pipeline.run(vector_type="float32") == STEPS


def test_options_of_fine_tuning_change_nothing_without_it(pipeline: Pipeline) -> None:
    options = {"fine_tune_learning_rate": 0.1, "fine_tune_percentage": 50.0, "fine_tune_seed": 1}
    assert pipeline.run(**options) == []


def test_going_back_only_moves_current(pipeline: Pipeline, tmp_path: Path) -> None:
    first = (tmp_path / "out/current").resolve()
    pipeline.run(l2=0.5)
    assert (tmp_path / "out/current").resolve() != first
    assert pipeline.run() == ["ExportModel"]
    assert (tmp_path / "out/current").resolve() == first


def test_copies_of_the_training_photos_run_what_depends_on_them(pipeline: Pipeline) -> None:
    copies = {"augmentations": 2, "flip_left_right": True}
    trained = [step for step in STEPS if step != "CheckData"]  # which looks at the photos alone
    assert pipeline.run(**copies) == trained
    assert pipeline.run(**copies) == []
    assert pipeline.run(**copies, random_crop=10) == trained


def test_the_same_module_elsewhere_is_looked_at_and_nothing_is_computed(
    pipeline: Pipeline, tiny_module: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_module, tmp_path / "moved")
    assert pipeline.run(tfhub_module=str(tmp_path / "moved")) == ["PrepareModule"]


def test_other_weights_under_the_same_path_run_everything_after_the_split(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    module = tmp_path / "module"
    shutil.copytree(tiny_module, module)
    pipeline = Pipeline(image_dir=photo_dir, tfhub_module=str(module), output_dir=tmp_path / "out")
    pipeline.run()
    (module / "assets" / "note.txt").parent.mkdir(exist_ok=True)
    (module / "assets" / "note.txt").write_text("other content")
    assert pipeline.run() == sorted([*STEPS, "PrepareModule"])


def test_moving_the_folder_of_photos_changes_nothing(
    pipeline: Pipeline, photo_dir: Path, tmp_path: Path
) -> None:
    photo_dir.rename(tmp_path / "moved")
    assert pipeline.run(image_dir=tmp_path / "moved") == []


def test_a_file_that_breaks_off_is_made_again_in_the_same_run(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    (part,) = tmp_path.glob("out/bottlenecks/*/red*/part-00000.parquet")
    os.truncate(part, part.stat().st_size // 2)
    assert pipeline.run(l2=0.5) == [step for step in STEPS if step != "CheckData"]
    assert "Bottlenecks: 24 computed, 0 reused" in pipeline.lines
    assert f"Deleted corrupt file {part}; its missing vectors will be recomputed" in pipeline.lines


def test_a_lost_result_is_made_again_and_nothing_else(pipeline: Pipeline, tmp_path: Path) -> None:
    (heads,) = tmp_path.glob("out/heads/*")
    shutil.rmtree(heads)
    (tmp_path / "out/current").unlink()
    assert pipeline.run() == ["ExportModel", "TrainHead"]


@pytest.mark.parametrize("damaged", ["manifests/*.parquet", "modules/*.json"])
def test_a_damaged_description_is_written_again(
    pipeline: Pipeline, tmp_path: Path, damaged: str
) -> None:
    (path,) = (tmp_path / "out").glob(damaged)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    step = {"manifests": "SplitDataset", "modules": "PrepareModule"}[path.parent.name]
    assert pipeline.run() == [step]
    assert path.read_bytes() == whole


def test_corrections_compute_no_vector_and_can_be_taken_back(
    pipeline: Pipeline, photo_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / corrections.FILE
    file.write_text(",".join(corrections.COLUMNS) + "\n")
    assert pipeline.run() == []  # without lines, nothing changes
    photos = sorted((photo_dir / "red_rose").iterdir())[:12]
    digests = [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos]
    corrections.append(file, [Correction(digest, "", "relabel", "tulip") for digest in digests])
    assert pipeline.run() == sorted([*STEPS, "SplitDataset"])
    assert "Bottlenecks: 0 computed, 48 reused" in pipeline.lines
    assert f"Corrections: 12 photos relabelled, 0 excluded by {file}" in pipeline.lines
    labels = pd.read_parquet(tmp_path / "out/current/photos.parquet").set_index("digest")["label"]
    assert set(labels[digests]) == {"tulip"}
    evaluated = json.loads((tmp_path / "out/current/evaluation.json").read_text())
    assert len(evaluated["data"]["corrections"]["relabelled"]) == 12
    assert evaluated["run"]["settings"]["corrections"] == str(file)
    corrections.append(file, [Correction(digest, "", "undo") for digest in digests])
    assert pipeline.run() == ["ExportModel"]  # moves `current` back


def test_a_kept_photo_changes_the_findings_and_trains_nothing(
    pipeline: Pipeline, photo_dir: Path, tmp_path: Path
) -> None:
    photo = photo_dir / "red_rose/3.jpg"
    shutil.copy(photo, photo_dir / "red_rose/copy_nohash_1.jpg")
    pipeline.run()
    findings = pd.read_parquet(tmp_path / "out/current/findings.parquet")
    pair = findings[findings["kind"].isin(["duplicate", "leak"])]
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    kept = [Correction(digest, row.path, "keep", why=row.kind) for row in pair.itertuples()]
    assert len(kept) == 2
    corrections.append(tmp_path / corrections.FILE, kept)
    assert pipeline.run() == ["CheckData", "EvaluateModel", "ExportModel", "SplitDataset"]
    findings = pd.read_parquet(tmp_path / "out/current/findings.parquet")
    assert not set(findings["kind"]) & {"duplicate", "leak"}


def test_an_invalid_corrections_file_is_one_message(photo_dir: Path, tmp_path: Path) -> None:
    (tmp_path / corrections.FILE).write_text(";".join(corrections.COLUMNS) + "\n")
    pipeline = Pipeline(image_dir=photo_dir, output_dir=tmp_path / "out")
    pipeline.task_class = SplitDataset
    with pytest.raises(AssertionError):
        pipeline.run()
    assert any("separated by semicolons; save it with commas" in line for line in pipeline.lines)
