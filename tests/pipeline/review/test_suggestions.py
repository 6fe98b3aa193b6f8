"""What to label next."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.review import suggestions


def test_uncertain_is_a_photo_with_two_good_classes() -> None:
    probabilities = np.array([[1, 0, 0], [0.5, 0.5, 0], [0.6, 0.3, 0.1]], np.float32)
    assert suggestions.uncertainty(probabilities) == pytest.approx([0, 1, 0.7])


@pytest.fixture
def crowded() -> tuple[np.ndarray, np.ndarray]:
    """Return photos of five uncertain appearances, one of them frequent, and certain ones."""
    generator = np.random.default_rng(0)
    appearance = np.repeat(np.arange(6), [20, 5, 5, 5, 5, 50])
    vectors = np.eye(6, 16)[appearance] * 5 + generator.normal(scale=0.1, size=(90, 16))
    probabilities = np.where((appearance == 5)[:, None], [0.999, 0.001], [0.5, 0.5])
    return probabilities.astype(np.float32), vectors.astype(np.float32)


def test_suggestions_are_uncertain_and_spread(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, vectors = crowded
    chosen = suggestions.rank(probabilities, vectors, 5)
    assert sorted(vectors[chosen].argmax(1)) == [0, 1, 2, 3, 4]


def test_copies_are_suggested_once(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, vectors = (np.concatenate([values[:3]] * 9) for values in crowded)
    assert len(suggestions.rank(probabilities, vectors, 20)) == 3


def test_a_table_survives_the_file(crowded: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    probabilities, vectors = crowded
    photos = pd.DataFrame({"path": [f"/up,loads/{i}.jpg" for i in range(90)]})
    photos["digest"] = [f"{i:064}" for i in range(90)]
    known = np.linspace(0, 1, 90, dtype=np.float32)
    written = suggestions.table(photos, ("NA", "kiwi"), probabilities, vectors, 10, known)
    assert list(written.columns) == suggestions.COLUMNS
    assert written["uncertainty"].is_monotonic_decreasing
    suggestions.write(written, tmp_path / "suggestions/0123456789ab.csv")
    read = suggestions.newest(tmp_path)
    assert read["path"].tolist() == written["path"].tolist()
    entries, guesses = list(suggestions.entries(read)), suggestions.guesses(read)
    assert [entry.photos[0].digest for entry in entries] == read["digest"].tolist()
    assert [guess.label for guess in guesses[read["digest"][0]]] == ["NA", "kiwi"]
    assert read["known"].tolist() == pytest.approx([int(d) / 89 for d in read["digest"]], abs=1e-4)


def test_a_certain_photo_that_fits_no_class_is_named(tmp_path: Path) -> None:
    shares = pd.DataFrame({"uncertainty": [0.001, 0.5], "known": [0.02, 1]})
    suggested = shares.assign(path="new.jpg", digest="a").reindex(columns=suggestions.COLUMNS)
    named, plain = (entry.detail for entry in suggestions.entries(suggested))
    assert named == "uncertainty 0%; 2% of the known photos fit no better"
    assert plain == "uncertainty 50%"  # without validation photos
    suggested = suggested.drop(columns="known")  # as an earlier version wrote it
    suggestions.write(suggested, tmp_path / "suggestions/0123456789ab.csv")
    read = suggestions.newest(tmp_path)
    assert [entry.detail for entry in suggestions.entries(read)] == ["uncertainty 0%", plain]


def test_no_suggestions_are_an_empty_table(tmp_path: Path) -> None:
    assert list(suggestions.entries(suggestions.newest(tmp_path))) == []
