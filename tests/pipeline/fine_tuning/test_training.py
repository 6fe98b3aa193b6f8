"""Fine-tuning a small module: it learns, resumes, repeats itself, and refuses what cannot work."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.fine_tuning import memory, network, result, training, tuned_photos
from pipeline.fine_tuning.settings import DISTORTIONS, Settings
from pipeline.fine_tuning.training import Source
from pipeline.head.checkpoints import Checkpoints
from pipeline.modules import loading, preparation, provenance
from pipeline.modules.loading import Module
from pipeline.photos import split
from pipeline.photos.split import SplitRule
from tests.support.photos import write_photo
from tests.support.saved_modules import tf1_module, tunable_module
from tests.support.store import Store

SETTINGS = Settings(4, fine_tune_learning_rate=0.05, fine_tune_batch_size=8)


class Killed(BaseException):
    """Stands for a signal."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return photos of three colours, which the module cannot tell apart."""
    folder = tmp_path_factory.mktemp("tuning")
    for hue, label in enumerate(("one", "two", "three")):
        for seed in range(32):
            write_photo(folder / "photos" / label / f"{seed}.jpg", hue, seed)
    return source_of(preparation.prepare(str(tunable_module(folder / "mixer")), folder), folder)


def source_of(module: Module, folder: Path) -> Source:
    """Compute the vectors of the photos in a folder."""
    recipe = Recipe(module, "float32", "float32")
    store = Store(folder / "photos", recipe, folder, SplitRule(30, 10))
    store.run()
    classes = sorted(recipe.directory(store.path).glob("*-*/"))
    readers = (SplitReader(classes, name) for name in (split.TRAINING, split.VALIDATION))
    return Source(recipe, *readers, store.image_dir)


@pytest.fixture
def tune(source: Source, tmp_path: Path) -> Callable[..., Any]:
    def run(settings: Settings = SETTINGS, **options: Any) -> Any:
        return training.tune(source, settings, DISTORTIONS, tmp_path, 10**7, **options)

    return run


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def undisturbed(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("undisturbed")
    return training.tune(source, SETTINGS, DISTORTIONS, folder, 10**7)


def test_training_lowers_the_loss(undisturbed: Any) -> None:
    _, record = undisturbed
    assert [epoch.number for epoch in record.epochs] == [1, 2, 3, 4]
    assert record.epochs[-1].loss < record.epochs[0].loss
    assert record.best == min(record.epochs, key=lambda epoch: epoch.cross_entropy).number
    assert record.verdict.better


def test_a_killed_training_ends_like_an_undisturbed_one(
    undisturbed: Any, tune: Callable[..., Any], tmp_path: Path
) -> None:
    expected, record = undisturbed
    checkpoints = Checkpoints(tmp_path / "unfinished.npz", 2)

    def killing(done: int, _: int, message: str) -> None:
        if "epoch" in message and done == 11 * SETTINGS.fine_tune_batch_size:  # in an epoch
            raise Killed

    with pytest.raises(Killed):
        tune(checkpoints=checkpoints, progress=killing)
    steps: list[int] = []
    tuned, resumed = tune(
        checkpoints=checkpoints,
        progress=lambda done, _, message: steps.append(done) if "epoch" in message else None,
    )
    assert steps[0] > 8 * SETTINGS.fine_tune_batch_size
    assert same(tuned.weights(), expected.weights())
    assert resumed.verdict == record.verdict
    assert [epoch.loss for epoch in resumed.epochs] == [epoch.loss for epoch in record.epochs]


def test_only_the_last_variables_are_trained_on_request(
    tune: Callable[..., Any], source: Source
) -> None:
    options = {"fine_tune_epochs": 1, "fine_tune_percentage": 50.0, "fine_tune_seed": 1}
    tuned, _ = tune(replace(SETTINGS, **options))
    before, _ = network.trainable(source.recipe.module)
    first, second = (variable.numpy() for variable in before.trainable_variables)
    after = [variable.numpy() for variable in tuned._loaded.trainable_variables]
    np.testing.assert_array_equal(after[0], first)
    assert not np.array_equal(after[1], second)


def test_the_result_is_a_module_that_can_be_tuned_again(
    undisturbed: Any, source: Source, tmp_path: Path
) -> None:
    tuned, record = undisturbed
    photos = tuned_photos.collect(source.training, source.validation, source.recipe.module)
    result.write(tuned, record, photos, tmp_path / "result")
    folder = result.module_in(tmp_path / "result")
    assert folder == tmp_path / "result" / "mixer"
    module = preparation.prepare(str(folder), tmp_path)
    assert module.digest != source.recipe.module.digest
    assert (module.tuned_from, module.tuned_epochs) == (source.recipe.module.handle, record.best)
    assert provenance.read(folder) is not None
    assert module.handle == f"mixer, fine-tuned ({module.digest[:12]})"
    with pytest.raises(UserError, match=r"image_size is 9, but mixer, .* was fine-tuned at 8 x 8"):
        preparation.prepare(str(folder), tmp_path, image_size=9)
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    vectors = loading.load(module)[0](images)
    logits = vectors @ tuned.variables[-2] + tuned.variables[-1]
    np.testing.assert_allclose(logits, tuned.head().logits(tuned.vectors(images)), atol=1e-5)
    _, variables = network.trainable(module)
    assert len(variables) == 2
    pd.testing.assert_frame_equal(tuned_photos.read(module), photos)


def test_a_second_tuning_starts_where_the_first_one_ended(
    undisturbed: Any, source: Source, tmp_path: Path
) -> None:
    result.write(*undisturbed, pd.DataFrame(), tmp_path / "result")
    (tmp_path / "photos").symlink_to(source.image_dir)
    module = preparation.prepare(str(result.module_in(tmp_path / "result")), tmp_path)
    settings = replace(SETTINGS, fine_tune_epochs=1)
    tuned = source_of(module, tmp_path)
    _, record = training.tune(tuned, settings, DISTORTIONS, tmp_path, 10**7)
    before, now = undisturbed[1].verdict, record.verdict
    assert now.frozen_accuracy == before.tuned_accuracy
    assert now.frozen_probability == pytest.approx(before.tuned_probability, abs=1e-4)


def test_a_worse_result_contains_no_module(tune: Callable[..., Any], tmp_path: Path) -> None:
    tuned, record = tune(replace(SETTINGS, fine_tune_epochs=1, fine_tune_learning_rate=1e-9))
    assert not record.verdict.better
    result.write(tuned, record, pd.DataFrame(), tmp_path / "result")
    assert result.module_in(tmp_path / "result") is None
    path = tmp_path / "result" / result.RECORD
    assert result.read(path.parent) == replace(record, module=ANY, date=ANY)
    path.write_text(path.read_text().replace("frozen_probability", "frozen_cross_entropy"))
    assert result.read(path.parent) is None
    assert "stays as it was" in next(result.summary_lines(record))


def test_a_loss_that_is_not_finite_names_the_rate(
    tune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network.Network, "train", lambda *_: float("nan"))
    with pytest.raises(UserError, match=r"not finite at fine_tune_learning_rate 0\.05"):
        tune()


def test_the_best_epoch_survives_a_later_loss_that_is_not_finite(
    tune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, calls = network.Network.train, list[int]()

    def diverging(self: Any, *arguments: Any) -> float:
        calls.append(1)
        return train(self, *arguments) if len(calls) <= 9 else float("nan")

    monkeypatch.setattr(network.Network, "train", diverging)
    _, record = tune()
    assert len(record.epochs) == 1
    assert list(result.summary_lines(record))[1].startswith(
        "Fine-tuning stopped early: the loss is not finite at fine_tune_learning_rate 0.05"
    )


def test_a_time_budget_without_room_for_all_epochs_is_named(
    tune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.schedule, "epochs_within", lambda *_: 2)
    _, record = tune(replace(SETTINGS, fine_tune_minutes=1))
    assert len(record.epochs) == 2
    lines = list(result.summary_lines(record))
    assert "fine_tune_minutes 1 has room for 2 of 4 epochs" in lines[1]
    assert record.verdict.better
    assert len(lines) == 2


def test_too_large_a_batch_is_refused_with_one_that_fits(
    tune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "activation_bytes", lambda _: 10**9)
    monkeypatch.setattr(memory, "available_bytes", lambda: 5 * 10**9)
    with pytest.raises(UserError, match=r"a batch of 8 photos takes.* to at most 5"):
        tune()


def test_a_budget_below_one_epoch_is_refused(tune: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="fine_tune_minutes is 1e-06, but one epoch takes"):
        tune(replace(SETTINGS, fine_tune_minutes=1e-6))


def test_modules_that_cannot_be_tuned_are_refused(tiny_module: Path, tmp_path: Path) -> None:
    modules = {
        "TensorFlow 1 Hub format": tf1_module(tmp_path / "v1"),
        "no trainable_variables": tiny_module,
        "no gradients": tunable_module(tmp_path / "stopped", gradients=False),
    }
    for reason, directory in modules.items():
        module = preparation.prepare(str(directory), tmp_path / "prepared")
        with pytest.raises(UserError, match=f"cannot be fine-tuned: .*{reason}.*; use a module"):
            network.trainable(module)
