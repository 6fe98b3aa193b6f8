"""All checks together: the table, the gate, and faults planted into real files."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks, context
from pipeline.photos import manifest, split
from tests.support.checks import Maker
from tests.support.photos import PhotoMaker
from tests.support.store import Store


@pytest.fixture
def findings(make_subject: Maker) -> pd.DataFrame:
    labels = ["a"] * 25 + ["b"] * 5
    digests = [f"{i:064x}" for i in range(29)] + [f"{0:064x}"]
    splits = ["training"] * 29 + ["testing"]
    vectors = 0.1 * np.eye(30, 40)
    vectors[:25, 30] = vectors[25:, 31] = 1
    return checks.run(make_subject(vectors, labels, digests, splits))


def test_a_row_stands_for_a_photo_of_a_finding_the_gravest_first(findings: pd.DataFrame) -> None:
    assert findings["kind"].drop_duplicates().tolist() == ["leak", "conflict", "small_class"]
    leak = findings[findings["kind"] == "leak"]
    assert leak["path"].tolist() == ["a/0.png", "b/29.png"]
    assert leak["split"].tolist() == ["training", "testing"]
    assert leak["finding"].nunique() == 1
    assert findings.iloc[-1][["path", "label"]].tolist() == ["", "b"]


def test_what_is_written_is_read_again(findings: pd.DataFrame, tmp_path: Path) -> None:
    checks.write(findings, tmp_path / "findings.parquet")
    again = checks.read(tmp_path / "findings.parquet")
    assert again[["kind", "path", "detail"]].equals(findings[["kind", "path", "detail"]])
    some = checks.read(tmp_path / "findings.parquet", ("conflict",))
    assert set(some["kind"]) == {"conflict"}
    assert checks.read(tmp_path / "findings.parquet", ()).empty


def test_the_gate_names_what_it_refuses(findings: pd.DataFrame, tmp_path: Path) -> None:
    kinds = checks.parse_kinds("small_class, leak")
    with pytest.raises(UserError) as refusal:
        checks.fail_on_findings(findings[findings["kind"].isin(kinds)], tmp_path / "f.parquet")
    message = str(refusal.value)
    assert "1 of kind leak, 1 of kind small_class" in message
    assert "a/0.png and b/29.png (identical file in testing and training)" in message
    assert "class b (5 photos" in message
    assert str(tmp_path / "f.parquet") in message
    checks.fail_on_findings(findings[findings["kind"] == "label"], tmp_path / "f.parquet")


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="unknown kind 'leaks'; choose from leak, conflict"):
        checks.parse_kinds("leaks")
    assert checks.parse_kinds("") == ()


def test_every_check_has_its_kinds_explained(findings: pd.DataFrame) -> None:
    assert set(findings["kind"]) <= set(checks.KINDS)
    (line,) = checks.summary_lines(findings)
    assert line.startswith("Data checks: one photo in two splits: 1; ")
    assert not list(checks.summary_lines(findings.head(0)))


def test_faults_planted_into_real_files_are_found(
    store: Store, photo_dir: Path, make_photo: PhotoMaker
) -> None:
    (photo_dir / "red_rose/broken.jpg").write_bytes(
        (photo_dir / "red_rose/1.jpg").read_bytes()[:300]
    )
    make_photo(photo_dir / "red_rose/really a png.jpg", 1, 100, kind="PNG")
    make_photo(photo_dir / "red_rose/tiny.png", 1, 101, size=(9, 1))
    parts = {split.assign(store.rule, f"x/{i}.jpg"): i for i in range(100, 200)}
    for number in parts.values():
        shutil.copy(photo_dir / "red_rose/2.jpg", photo_dir / f"red_rose/{number}.jpg")
    make_photo(photo_dir / "green leaf/wrong label.jpg", 1, 102)
    store.run()
    read = [store.part(part) for part in split.SPLITS]
    listed = manifest.read(store.path / "manifest.parquet")
    found = checks.run(context.build_context(listed, read, store.image_dir, store.recipe.module))
    by_kind = {kind: set(group["path"]) for kind, group in found.groupby("kind")}
    assert by_kind["unreadable"] == {"red_rose/broken.jpg"}
    assert by_kind["format"] == {"red_rose/really a png.jpg"}
    assert by_kind["tiny"] == {"red_rose/tiny.png"}
    copies = {f"red_rose/{number}.jpg" for number in (2, *parts.values())}
    assert by_kind["leak"] == copies
    assert by_kind["label"] == {"green leaf/wrong label.jpg"}
