"""The pixel range: reported if another one is clearly better, and only then."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import tensorflow_import
from pipeline.evaluation.data_checks import pixel_range
from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.modules import preparation
from pipeline.modules.loading import Module
from pipeline.modules.signatures import BYTE, SIGNED, UNIT


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """Prepare a module that saturates unless its pixels are from -1 to 1."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("signed")
    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    module.__call__ = tf.function(
        lambda x: tf.reduce_mean(tf.clip_by_value(30 * x, -1, 1), [1, 2]), [spec]
    )
    tf.saved_model.save(module, str(directory / "m"))
    return preparation.prepare(str(directory / "m"), directory)


@pytest.fixture
def context(tmp_path: Path, signed: Module) -> CheckContext:
    """Write bright and dark photos."""
    rows, generator = [], np.random.default_rng(0)
    for label, low, high in (("bright", 140, 250), ("dark", 60, 115)):
        (tmp_path / label).mkdir()
        for number in range(10):
            pixels = generator.integers(low, high, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
            path = f"{label}/{number}.png"
            rows.append((label, path, f"{label}{number}", "training"))
    photos = pd.DataFrame(rows, columns=["label", "path", "digest", "split"])
    return CheckContext(photos, photos, lambda: iter(()), tmp_path, signed.input, module=signed)


@pytest.mark.parametrize("image_range", [UNIT, BYTE])
def test_a_range_that_separates_the_classes_clearly_better_is_named(
    context: CheckContext, signed: Module, image_range: str
) -> None:
    wrong = replace(context, module=replace(signed, image_range=image_range))
    (finding,) = pixel_range.find(wrong)
    assert finding.detail.startswith(
        "with image_range signed, the module separates 100% of 20 photos of 2 classes"
    )


def test_the_right_range_is_not_reported(context: CheckContext, signed: Module) -> None:
    right = replace(context, module=replace(signed, image_range=SIGNED))
    assert not list(pixel_range.find(right))


def test_a_small_advantage_may_be_chance(context: CheckContext) -> None:
    few = context.photos.groupby("label").head(4)
    assert not list(pixel_range.find(replace(context, photos=few)))


def test_built_in_modules_and_missing_modules_are_not_checked(
    context: CheckContext, signed: Module
) -> None:
    assert not list(pixel_range.find(replace(context, module=None)))
    built_in = replace(signed, handle="efficientnet-lite0")
    assert not list(pixel_range.find(replace(context, module=built_in)))
