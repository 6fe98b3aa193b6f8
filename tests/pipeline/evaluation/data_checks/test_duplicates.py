"""Duplicates: equal files by their digest, copies saved anew by how they look."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.evaluation.data_checks import duplicates
from pipeline.evaluation.data_checks.context import CheckContext
from tests.support.checks import Maker


def same(make: Maker, labels: list[str], splits: list[str]) -> set[str]:
    """The kinds of findings where all photos are one file."""
    n = len(labels)
    vectors = np.eye(n, 8)
    return {f.kind for f in duplicates.find(make(vectors, labels, ["same"] * n, splits))}


def test_equal_files_are_named_by_what_is_worst(make_subject: Maker) -> None:
    assert same(make_subject, ["a", "a"], ["training", "testing"]) == {"leak"}
    assert same(make_subject, ["a", "b"], ["training", "training"]) == {"conflict"}
    assert same(make_subject, ["a", "b"], ["training", "testing"]) == {"leak", "conflict"}
    assert same(make_subject, ["a", "a"], ["training", "training"]) == {"duplicate"}


def test_a_finding_names_all_files_and_both_parts(make_subject: Maker) -> None:
    subject = make_subject(
        np.eye(4, 8), ["a", "a", "a", "b"], ["x", "y", "x", "z"], ["training"] * 2 + ["testing"] * 2
    )
    (found,) = duplicates.find(subject)
    assert found.paths == ("a/0.png", "a/2.png")
    assert found.detail == "identical file in testing and training"


def photographs(folder: Path, count: int) -> list[str]:
    """Different photos: coarse random patterns, which survive another size and quality."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = []
    for number in range(count):
        coarse = generator.integers(0, 255, (6, 6, 3), np.uint8)
        image = Image.fromarray(coarse).resize((200, 160), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=95)
        names.append(f"{folder.name}/{number}.jpg")
    return names


def looks(subject_dir: Path, paths: list[str]) -> np.ndarray:
    """Vectors that a module might make: the mean colours of a 4 x 4 grid."""
    images = [Image.open(subject_dir / p).convert("RGB").resize((4, 4)) for p in paths]
    return np.stack([np.asarray(image, np.float32).ravel() for image in images])


def test_copies_saved_anew_are_found_and_others_are_not(
    make_subject: Maker, tmp_path: Path
) -> None:
    paths = photographs(tmp_path / "a", 30)
    for number in range(5):
        with Image.open(tmp_path / paths[number]) as image:
            smaller = image.resize((120 + 20 * number, 100))
        smaller.save(tmp_path / f"a/copy {number}.jpg", quality=50)
        paths.append(f"a/copy {number}.jpg")
    splits = ["training"] * 30 + ["testing"] * 5
    subject: CheckContext = make_subject(looks(tmp_path, paths), ["a"] * 35, None, splits, paths)
    found = {f.paths for f in duplicates.find(subject)}
    assert found == {(f"a/{number}.jpg", f"a/copy {number}.jpg") for number in range(5)}
    assert {f.kind for f in duplicates.find(subject)} == {"leak"}


def test_too_many_photos_are_not_compared(make_subject: Maker) -> None:
    subject = make_subject(np.eye(1, 8), ["a"])
    assert subject.nearest is None
    assert not list(duplicates.find(subject))
