"""The verdict on the validation photos."""

import numpy as np

from pipeline.fine_tuning import verdict


def draw(signal: float, seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose accuracy rises with the signal, and the classes."""
    classes = np.arange(count) % 4
    noise = np.random.default_rng(seed).normal(size=(count, 4))
    return (noise + signal * np.eye(4)[classes]).astype(np.float32), classes


def test_a_clear_gain_counts_whatever_the_confidence() -> None:
    (frozen, classes), (tuned, _) = draw(2, 0), draw(4, 1)
    for scale in (0.1, 1, 10):
        result = verdict.compare(frozen, tuned * np.float32(scale), classes)
        assert result.better
        assert result.tuned_accuracy > result.frozen_accuracy
        assert result.summary.startswith("Fine-tuning has improved the module: ")


def test_a_loss_and_no_difference_do_not_count() -> None:
    (frozen, classes), (worse, _) = draw(2, 0), draw(1, 1)
    for tuned in (worse, frozen, 3 * frozen):
        result = verdict.compare(frozen, tuned, classes)
        assert not result.better
        assert "so it stays as it was: " in result.summary
    assert "has made the module worse" in verdict.compare(frozen, worse, classes).summary
    assert "has not clearly improved" in verdict.compare(frozen, frozen, classes).summary


def test_chance_rarely_counts() -> None:
    accepted = []
    for seed in range(40):
        (frozen, classes), (tuned, _) = draw(2, seed, 60), draw(2, 1000 + seed, 60)
        accepted.append(verdict.compare(frozen, tuned, classes).better)
    assert sum(accepted) <= 5  # 2 are expected at the level of 5%


def test_a_certain_gain_without_a_correct_answer_more_does_not_count() -> None:
    classes = np.arange(120) % 4
    frozen = np.float32(3 + np.random.default_rng(0).random((120, 1))) * np.eye(4)[classes]
    result = verdict.compare(frozen, frozen + np.eye(4)[classes] / 10, classes)
    assert result.p_value < verdict.LEVEL
    assert not result.better


def test_a_few_photos_cannot_show_a_gain() -> None:
    (frozen, classes), (tuned, _) = draw(0, 0, 4), draw(9, 1, 4)
    assert not verdict.compare(frozen, tuned, classes).better
