"""Every kind of photo becomes the same kind of pixels, wherever the decoding happens."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import tensorflow_import
from pipeline.photos import decoding

COLOUR = (200, 100, 50)
GREY = 120


@pytest.fixture(scope="module")
def tf() -> Any:
    tensorflow_import.import_tensorflow()
    import tensorflow

    return tensorflow


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode: str = "RGB", colour: Any = COLOUR) -> Image.Image:
    return Image.new(mode, (30, 20), colour)


def noise(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (37, 53, 3))
    return Image.fromarray(pixels.astype(np.uint8))


ANIMATED = {"save_all": True, "append_images": [flat(colour=(0, 0, 255))]}
FLAT_PHOTOS = {
    "JPEG": (encoded(flat(), "JPEG"), COLOUR),
    "progressive JPEG": (encoded(flat(), "JPEG", progressive=True), COLOUR),
    "grey JPEG": (encoded(flat("L", GREY), "JPEG"), (GREY, GREY, GREY)),
    "CMYK JPEG": (encoded(flat().convert("CMYK"), "JPEG"), COLOUR),
    "PNG": (encoded(flat(), "PNG"), COLOUR),
    "PNG with alpha": (encoded(flat("RGBA", (*COLOUR, 255)), "PNG"), COLOUR),
    "PNG with a palette": (encoded(flat().quantize(4), "PNG"), COLOUR),
    "grey PNG": (encoded(flat("L", GREY), "PNG"), (GREY, GREY, GREY)),
    "16-bit PNG": (encoded(flat("I;16", GREY * 257), "PNG"), (GREY, GREY, GREY)),
    "white 1-bit PNG": (encoded(flat("1", 1), "PNG"), (255, 255, 255)),
    "black 1-bit PNG": (encoded(flat("1", 0), "PNG"), (0, 0, 0)),
    "GIF": (encoded(flat(), "GIF"), COLOUR),
    "animated GIF": (encoded(flat(), "GIF", **ANIMATED), COLOUR),
    "BMP": (encoded(flat(), "BMP"), COLOUR),
    "WebP": (encoded(flat(), "WEBP"), COLOUR),
    "lossless WebP": (encoded(flat(), "WEBP", lossless=True), COLOUR),
    "WebP with alpha": (encoded(flat("RGBA", (*COLOUR, 255)), "WEBP"), COLOUR),
}
NOISY_PHOTOS = {kind: encoded(noise(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP")}
NOISY_PHOTOS["large JPEG"] = encoded(noise().resize((330, 250)), "JPEG")


@pytest.mark.parametrize(("photo", "colour"), FLAT_PHOTOS.values(), ids=FLAT_PHOTOS)
def test_a_photo_of_one_colour_decodes_to_that_colour(
    tf: Any, photo: bytes, colour: tuple[int, int, int]
) -> None:
    pixels = decoding.decode(tf.constant(photo), 8, 12).numpy()
    assert pixels.shape == (8, 12, 3)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels * 255, np.broadcast_to(colour, pixels.shape), atol=6)


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_lie_between_0_and_1(tf: Any, photo: bytes) -> None:
    pixels = decoding.decode(tf.constant(photo), 64, 64).numpy()
    assert pixels.min() >= 0
    assert 0.9 < pixels.max() <= 1


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_are_the_same_in_a_data_set_as_eagerly(tf: Any, photo: bytes) -> None:
    def decode(encoded: Any) -> Any:
        return decoding.decode(encoded, 24, 32)

    dataset = tf.data.Dataset.from_tensors(photo).map(decode)
    eagerly = decode(tf.constant(photo))
    np.testing.assert_array_equal(next(iter(dataset)).numpy(), eagerly.numpy())


def test_the_shape_is_known_before_anything_is_decoded(tf: Any) -> None:
    decode = tf.function(lambda encoded: decoding.decode(encoded, 24, 32))
    concrete = decode.get_concrete_function(tf.TensorSpec([], tf.string))
    assert concrete.output_shapes.as_list() == [24, 32, 3]


def test_a_photo_of_the_wanted_size_keeps_its_pixels(tf: Any) -> None:
    pixels = decoding.decode(tf.constant(NOISY_PHOTOS["PNG"]), 37, 53).numpy()
    np.testing.assert_array_equal(np.rint(pixels * 255), np.asarray(noise()))


def test_the_whole_photo_is_squeezed_and_nothing_cut_off(tf: Any) -> None:
    halves = Image.new("RGB", (400, 10), (0, 0, 0))
    halves.paste((255, 255, 255), (200, 0, 400, 10))
    pixels = decoding.decode(tf.constant(encoded(halves, "PNG")), 16, 16).numpy()
    assert pixels[:, :8].max() == 0
    assert pixels[:, 8:].min() == 1


def test_the_orientation_in_the_exif_data_is_not_honoured(tf: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, plain = encoded(noise(), "JPEG", exif=exif), encoded(noise(), "JPEG")
    np.testing.assert_array_equal(
        decoding.decode(tf.constant(turned), 20, 20), decoding.decode(tf.constant(plain), 20, 20)
    )


@pytest.mark.parametrize(
    "photo",
    [b"", b"not a photo at all", NOISY_PHOTOS["JPEG"][:200], NOISY_PHOTOS["PNG"][:200]],
    ids=["empty", "text", "half a JPEG", "half a PNG"],
)
def test_what_is_no_photo_raises(tf: Any, photo: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoding.decode(tf.constant(photo), 8, 8)


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_are_the_same_in_a_graph_as_eagerly(tf: Any, photo: bytes) -> None:
    graph = tf.function(
        lambda encoded: decoding.decode(encoded, 24, 32),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    eagerly = decoding.decode(tf.constant(photo), 24, 32)
    np.testing.assert_array_equal(graph(photo).numpy(), eagerly.numpy())


@pytest.mark.parametrize("scale", [4, 8])  # at 2, bilinear sampling is the average
def test_a_large_jpeg_is_averaged_and_not_sampled(scale: int) -> None:
    large = noise().resize((40 * scale, 24 * scale), Image.Resampling.NEAREST)
    generator = np.random.default_rng(0)
    grain = generator.normal(0, 30, (24 * scale, 40 * scale, 1))
    grainy = Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))
    average = np.asarray(grainy.reduce(scale)) / 255
    errors = {
        kind: np.abs(decoding.decode(encoded(grainy, kind, **options), 24, 40).numpy() - average)
        for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}))
    }
    assert errors["JPEG"].mean() < errors["PNG"].mean() / 2


def test_a_jpeg_is_not_shrunk_below_the_wanted_size(tf: Any) -> None:
    photo = encoded(noise().resize((63, 200)), "JPEG", quality=100)
    whole = tf.image.resize(tf.io.decode_jpeg(photo), (32, 32)) * (1 / 255.0)
    np.testing.assert_array_equal(decoding.decode(photo, 32, 32).numpy(), whole.numpy())


def test_a_batch_holds_what_each_photo_gives_and_zeros_for_what_is_none(tf: Any) -> None:
    photo = encoded(noise(), "JPEG")
    good = [encoded(noise(seed), kind) for seed, kind in enumerate(["PNG", "WEBP", "BMP"])]
    batch = [b"", good[0], photo[: len(photo) // 2], good[1], good[2], b"no photo"]
    run = tf.function(lambda files: decoding.decode_batch(files, 16, 24))
    pixels, readable = run(tf.constant(batch))
    assert readable.numpy().tolist() == [False, True, False, True, True, False]
    for place, content in zip((1, 3, 4), good, strict=True):
        np.testing.assert_array_equal(pixels[place], decoding.decode(content, 16, 24))
    assert not pixels.numpy()[[0, 2, 5]].any()


@pytest.mark.parametrize("batch", [[], [b"no photo"], [b"no photo"] * 40])
def test_a_batch_without_a_photo_is_all_zeros(tf: Any, batch: list[bytes]) -> None:
    run = tf.function(lambda files: decoding.decode_batch(files, 16, 24))
    pixels, readable = run(tf.constant(batch, tf.string))
    assert pixels.shape == (len(batch), 16, 24, 3)
    assert readable.shape == (len(batch),)
    assert not pixels.numpy().any()
    assert not readable.numpy().any()
