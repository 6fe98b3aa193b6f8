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
from pipeline.evaluation.data_checks.pixel_range import Response
from pipeline.modules import preparation
from pipeline.modules.loading import Module
from pipeline.modules.signatures import BYTE, SIGNED, UNIT
from tests.support.saved_modules import refusing_module
from tests.support.store import points


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
    assert finding.detail.startswith(f"image_range is {image_range}, but signed seems to suit")
    assert "20 photos" in finding.detail
    assert "signed 100%" in finding.detail


def test_the_right_range_is_not_reported(context: CheckContext, signed: Module) -> None:
    right = replace(context, module=replace(signed, image_range=SIGNED))
    assert not list(pixel_range.find(right))


def test_an_advantage_on_a_few_photos_may_be_chance() -> None:
    responses = {UNIT: response(0.5, 1.0, 8), SIGNED: response(1.0, 1.0, 8)}
    assert pixel_range._better(responses, UNIT, are_photographs=True) == ("", "")


def test_a_range_that_the_module_refuses_is_not_considered(
    context: CheckContext, tmp_path: Path
) -> None:
    module = preparation.prepare(str(refusing_module(tmp_path / "refusing")), tmp_path)
    _, vectors, _ = pixel_range._extract([tmp_path / "dark/0.png"], module)
    assert vectors.keys() == {UNIT, SIGNED}
    assert not list(pixel_range.find(replace(context, module=module)))


def response(share_correct: float, spread: float, photos: int = 100) -> Response:
    correct = np.arange(photos) < photos * share_correct
    return Response(correct, np.where(correct, 0.1, 2.0), spread)


@pytest.mark.parametrize(
    ("are_photographs", "better", "spreads", "expected"),
    [
        (True, 0.9, (1.0, 0.6), BYTE),
        (False, 0.9, (1.0, 0.6), ""),  # drawings may be separated best with a wrong range
        (True, 0.72, (1.0, 0.6), ""),
        (True, 0.5, (1.0, 0.6), ""),
        (True, 0.74, (0.1, 0.4), BYTE),  # the vectors of the configured range are nearly equal
        (True, 0.7, (0.1, 0.4), ""),  # but as useful
        (False, 0.5, (0.1, 0.4), BYTE),
        (False, 0.5, (0.1, 0.2), ""),  # those of every range are
        (False, 0.5, (0.5, 4.0), ""),  # a mean near 0 makes those of the other range look far apart
        (False, 0.5, (0.0, 0.0), ""),
    ],
)
def test_photographs_are_compared_by_accuracy_and_all_images_by_spread(
    are_photographs: bool, better: float, spreads: tuple[float, float], expected: str
) -> None:
    responses = {UNIT: response(0.7, spreads[0]), SIGNED: response(0.6, spreads[0])}
    responses[BYTE] = response(better, spreads[1])
    best, sign = pixel_range._better(responses, UNIT, are_photographs)
    assert best == expected
    if best:  # the message names what decided
        start = "share of photos" if are_photographs and better > 0.8 else "its vectors are nearly"
        assert sign.startswith(start)


def test_drawings_consist_of_equal_pixels_and_photographs_do_not(
    signed: Module, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).normal(128, 5, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "photograph.png")
    drawing = Image.new("L", (40, 40), "white")
    drawing.paste("black", (10, 10, 20, 40))
    drawing.save(tmp_path / "drawing.png")
    assert pixel_range._extract([tmp_path / "photograph.png"], signed)[2] < 0.3
    assert pixel_range._extract([tmp_path / "drawing.png"], signed)[2] > 0.6


def test_modules_with_a_known_range_and_missing_modules_are_not_checked(
    context: CheckContext, signed: Module
) -> None:
    assert not list(pixel_range.find(replace(context, module=None)))
    known = replace(signed, image_range_known=True)
    assert not list(pixel_range.find(replace(context, module=known)))


def test_tiny_vectors_respond_alike() -> None:
    vectors, labels = points(60, 3, 1)
    number = np.unique(labels.astype(str), return_inverse=True)[1]
    found, tiny = (pixel_range._response(v, number) for v in (vectors, vectors * np.float32(1e-10)))
    assert tiny.spread == pytest.approx(found.spread, rel=1e-3)
    assert np.abs(tiny.loss - found.loss).max() < 1e-3
