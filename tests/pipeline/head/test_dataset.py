"""Examples: blocks that do not depend on how photos are stored, kept or read again."""

import numpy as np
import pytest

from pipeline.head.dataset import BatchIterator, Blocking, Examples, in_memory
from tests.support.store import points


def in_batches(vectors: np.ndarray, labels: np.ndarray, rows: int) -> BatchIterator:
    return lambda: (
        (vectors[i : i + rows], labels[i : i + rows]) for i in range(0, len(labels), rows)
    )


SMALL = Blocking(rows=64)


def all_blocks(photos: Examples) -> list[np.ndarray]:
    return [block.copy() for _, block in photos.blocks()]


@pytest.mark.parametrize("rows", [1, 30, 5000])
def test_blocks_do_not_depend_on_the_batches(rows: int) -> None:
    vectors, labels = points(200, 3, 1)
    whole = all_blocks(Examples.read(in_memory(vectors, labels), blocking=SMALL))
    parts = all_blocks(Examples.read(in_batches(vectors, labels, rows), blocking=SMALL))
    assert [len(block) for block in whole] == [64, 64, 64, 8]
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_photos_that_are_too_many_to_keep_are_read_again_and_are_the_same() -> None:
    vectors, labels = points(1000, 3, 1)
    kept = Examples.read(in_batches(vectors, labels, 100), blocking=SMALL)
    few = Blocking(rows=64, cached_bytes=64 * 20 * 4 * 5)
    streamed = Examples.read(in_batches(vectors, labels, 100), blocking=few)
    assert kept.cached
    assert streamed.cached is None
    for _ in range(2):
        pairs = zip(all_blocks(kept), all_blocks(streamed), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert np.array_equal(kept.classes, streamed.classes)
    rows = np.array([999, 0, 500, 0])
    assert np.array_equal(kept.gather(rows), streamed.gather(rows))


def test_what_is_given_is_left_as_it_is() -> None:
    vectors, labels = points(50, 3, 1)
    before = vectors.copy()
    Examples.read(in_memory(vectors, labels))
    assert np.array_equal(vectors, before)


def test_features_that_hardly_vary_are_not_enlarged_to_the_size_of_others() -> None:
    vectors, labels = points(500, 3, 1)
    vectors[:, :3] *= 1e-3
    photos = Examples.read(in_memory(vectors, labels))
    deviations = np.concatenate(all_blocks(photos)).std(0)
    assert np.allclose(deviations[3:], 1, atol=1e-3)
    assert (deviations[:3] < 0.01).all()


def test_features_are_standardised_and_classes_are_in_alphabetical_order() -> None:
    vectors, labels = points(5000, 4, 2)
    vectors[:, 3] = 7
    photos = Examples.read(in_batches(vectors, labels, 170))
    standardised = np.concatenate(all_blocks(photos))
    assert np.allclose(standardised.mean(0), 0, atol=1e-4)
    varying = np.arange(20) != 3
    assert np.allclose(standardised.std(0)[varying], 1, atol=1e-3)
    assert not standardised[:, 3].any()
    assert photos.labels == ("class 0", "class 1", "class 2", "class 3")
    assert [photos.labels[number] for number in photos.classes] == labels.tolist()


def test_a_large_mean_costs_no_precision() -> None:
    vectors = np.random.default_rng(0).normal(3000, 1, (4000, 2)).astype(np.float32)
    photos = Examples.read(in_batches(vectors, np.array(["a", "b"] * 2000, dtype=object), 333))
    assert np.allclose(photos.scaling.deviation, vectors.astype(np.float64).std(0), rtol=1e-5)


def test_other_examples_take_over_classes_and_scaling_and_leave_out_other_labels() -> None:
    training = Examples.read(in_memory(*points(300, 3, 1)))
    vectors, labels = points(200, 5, 2)
    validation = Examples.read(in_batches(vectors, labels, 7), like=training)
    known = np.isin(labels, training.labels)
    assert 0 < len(validation) == known.sum() < 200
    expected = (vectors[known] - training.scaling.mean) / training.scaling.deviation
    assert np.allclose(np.concatenate(all_blocks(validation)), expected, atol=1e-5)
    assert [validation.labels[number] for number in validation.classes] == labels[known].tolist()


def test_some_rows_are_examples_of_their_own() -> None:
    photos = Examples.read(in_memory(*points(50, 3, 1)))
    some = photos.subset(np.array([40, 3]))
    assert len(some) == 2
    assert np.array_equal(np.concatenate(all_blocks(some)), photos.gather(np.array([40, 3])))
    assert some.classes.tolist() == photos.classes[[40, 3]].tolist()


def test_a_sample_has_an_even_share_of_each_class() -> None:
    vectors, labels = points(1000, 3, 1)
    vectors, labels = vectors[np.argsort(labels)], np.sort(labels)
    labels[-1] = "alone"
    photos = Examples.read(in_batches(vectors, labels, 100), blocking=SMALL)
    assert photos.sample() is photos
    few = Blocking(rows=64, cached_bytes=vectors.size * 4 // 5)
    photos = Examples.read(in_batches(vectors, labels, 100), blocking=few)
    assert photos.cached is None
    sample = photos.sample()
    assert sample.cached is not None
    share = np.bincount(sample.classes) / np.bincount(photos.classes)
    assert share[0] == 1  # the class of one photo
    assert share[1:] == pytest.approx(0.2, abs=0.01)


def test_no_photos_are_no_blocks() -> None:
    training = Examples.read(in_memory(*points(50, 3, 1)))
    nothing = Examples.read(lambda: iter([]), like=training)
    assert len(nothing) == 0
    assert all_blocks(nothing) == []


def test_an_error_while_reading_ahead_is_raised() -> None:
    vectors, labels = points(80, 3, 1)
    reads = []

    def passes():  # type: ignore[no-untyped-def]
        reads.append(1)
        yield vectors[:40], labels[:40]
        if len(reads) > 1:
            raise OSError("the disk is gone")
        yield vectors[40:], labels[40:]

    photos = Examples.read(passes, blocking=Blocking(rows=8, cached_bytes=0))
    with pytest.raises(OSError, match="the disk is gone"):
        all_blocks(photos)


def test_fewer_validation_photos_are_kept_than_training_photos() -> None:
    vectors, labels = points(640, 3, 1)
    blocking = Blocking(rows=64, cached_bytes=vectors.nbytes)
    training = Examples.read(in_batches(vectors, labels, 100), blocking=blocking)
    few, many = (
        Examples.read(in_batches(vectors[:n], labels[:n], 100), like=training) for n in (160, 640)
    )
    assert training.cached and few.cached
    assert many.cached is None
    assert np.array_equal(np.concatenate(all_blocks(many)), np.concatenate(all_blocks(training)))
