"""Every kind of photo becomes the same kind of pixels, wherever the decoding happens."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline import tensorflow_import
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec

SPEC = InputSpec(8, 12)
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


def stored(upright: Image.Image, orientation: int) -> np.ndarray:
    """Return the pixels of a photo that is upright after it is turned as an orientation says."""
    pixels = np.asarray(upright)
    turned: np.ndarray = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    return np.ascontiguousarray(turned)


def exif(orientation: int, order: str) -> bytes:
    """Return Exif metadata with another tag before the orientation, in a byte order, < or >."""
    metadata = Image.Exif()
    metadata.endian = order
    metadata[0x010F], metadata[0x0112] = "Maker", orientation
    return metadata.tobytes()


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
    pixels = decoding.decode(tf.constant(photo), InputSpec(8, 12)).numpy()
    assert pixels.shape == (8, 12, 3)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels * 255, np.broadcast_to(colour, pixels.shape), atol=6)


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_lie_between_0_and_1(tf: Any, photo: bytes) -> None:
    pixels = decoding.decode(tf.constant(photo), InputSpec(64, 64)).numpy()
    assert pixels.min() >= 0
    assert 0.9 < pixels.max() <= 1


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_are_the_same_in_a_data_set_as_eagerly(tf: Any, photo: bytes) -> None:
    def decode(encoded: Any) -> Any:
        return decoding.decode(encoded, InputSpec(24, 32))

    dataset = tf.data.Dataset.from_tensors(photo).map(decode)
    eagerly = decode(tf.constant(photo))
    np.testing.assert_array_equal(next(iter(dataset)).numpy(), eagerly.numpy())


def test_the_shape_is_known_before_anything_is_decoded(tf: Any) -> None:
    decode = tf.function(lambda encoded: decoding.decode(encoded, InputSpec(24, 32)))
    concrete = decode.get_concrete_function(tf.TensorSpec([], tf.string))
    assert concrete.output_shapes.as_list() == [24, 32, 3]


def test_a_photo_of_the_wanted_size_keeps_its_pixels(tf: Any) -> None:
    pixels = decoding.decode(tf.constant(NOISY_PHOTOS["PNG"]), InputSpec(37, 53)).numpy()
    np.testing.assert_array_equal(np.rint(pixels * 255), np.asarray(noise()))


def test_the_whole_photo_is_squeezed_and_nothing_cut_off(tf: Any) -> None:
    halves = Image.new("RGB", (400, 10), (0, 0, 0))
    halves.paste((255, 255, 255), (200, 0, 400, 10))
    pixels = decoding.decode(tf.constant(encoded(halves, "PNG")), InputSpec(16, 16)).numpy()
    assert pixels[:, :8].max() == 0
    assert pixels[:, 8:].min() == 1


UPRIGHT = noise()
STORED = {number: Image.fromarray(stored(UPRIGHT, number)) for number in range(1, 9)}


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_turned_upright(tf: Any, kind: str, order: str, number: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 75}
    photo = encoded(STORED[number], kind, exif=exif(number, order), **options)
    decoded = decoding.pixels(tf.constant(photo), InputSpec(37, 53)).numpy()
    with Image.open(io.BytesIO(photo)) as image:  # Pillow as a reference
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert decoded.shape == np.asarray(UPRIGHT).shape
    assert np.abs(decoded.astype(int) - expected).max() <= (4 if kind == "JPEG" else 0)
    if kind != "JPEG":
        np.testing.assert_array_equal(decoded, np.asarray(UPRIGHT))
    ignoring = InputSpec(37, 37, exif_orientation=False)
    as_stored = decoding.pixels(tf.constant(photo), ignoring).numpy()
    assert as_stored.shape == np.asarray(STORED[number]).shape


def test_a_sideways_photo_is_resized_like_the_upright_one(tf: Any) -> None:
    spec = InputSpec(24, 40)
    sideways = encoded(STORED[6], "PNG", exif=exif(6, "<"))
    np.testing.assert_allclose(
        decoding.decode(tf.constant(sideways), spec),
        decoding.decode(tf.constant(encoded(UPRIGHT, "PNG")), spec),
        atol=1e-5,
    )


def test_no_side_of_a_large_jpeg_is_reduced_below_the_longer_side_of_the_input(tf: Any) -> None:
    photo = tf.constant(encoded(noise().resize((400, 200)), "JPEG"))
    for spec in (InputSpec(50, 30), InputSpec(30, 50)):
        assert decoding.pixels(photo, spec).shape == (50, 100, 3)


TRANSPARENT = {
    "RGBA": (Image.new("RGBA", (4, 4), (200, 100, 50, 0)), {}),
    "half transparent": (Image.new("RGBA", (4, 4), (200, 100, 50, 128)), {}),
    "grey with alpha": (Image.new("LA", (4, 4), (77, 10)), {}),
    "palette": (flat(colour=(255, 0, 0)).quantize(4), {"transparency": 0}),
    "partly transparent palette": (flat().quantize(4), {"transparency": bytes([100])}),
    "transparent grey": (Image.new("L", (4, 4), 5), {"transparency": 5}),
    "transparent colour": (Image.new("RGB", (4, 4), (1, 2, 3)), {"transparency": (1, 2, 3)}),
    "palette of two colours": (Image.new("1", (4, 4), 1).convert("P", colors=2), {}),
}


@pytest.mark.parametrize("background", [255, 0, 90])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
@pytest.mark.parametrize(("image", "options"), TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_pixels_show_the_background(
    tf: Any, image: Image.Image, options: dict[str, Any], kind: str, background: int
) -> None:
    if kind == "GIF" and not isinstance(options.get("transparency", 0), int):
        pytest.skip("a GIF has one transparent colour of its palette")
    if kind == "WEBP":
        options = options | {"lossless": True, "exact": True}
    photo = encoded(image, kind, **options)
    decoded = decoding.pixels(tf.constant(photo), InputSpec(4, 4, background=background))
    with Image.open(io.BytesIO(photo)) as stored_image:
        visible = stored_image.convert("RGBA")
    behind = Image.new("RGBA", visible.size, (background,) * 3)
    expected = np.asarray(Image.alpha_composite(behind, visible).convert("RGB")).astype(int)
    assert np.abs(decoded.numpy() - expected).max() <= 1


def test_hidden_colours_do_not_matter(tf: Any) -> None:
    pixels = np.zeros((9, 9, 4), np.uint8)
    pixels[3:6, 3:6] = (10, 20, 30, 255)
    other = pixels.copy()
    other[pixels[..., 3] == 0, :3] = 200
    first, second = (
        decoding.decode(tf.constant(encoded(Image.fromarray(each), kind, **options)), SPEC)
        for each, kind, options in (
            (pixels, "PNG", {}),
            (other, "WEBP", {"lossless": True, "exact": True}),
        )
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "photo",
    [b"", b"not a photo at all", NOISY_PHOTOS["JPEG"][:200], NOISY_PHOTOS["PNG"][:200]],
    ids=["empty", "text", "half a JPEG", "half a PNG"],
)
def test_what_is_no_photo_raises(tf: Any, photo: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoding.decode(tf.constant(photo), InputSpec(8, 8))


@pytest.mark.parametrize("photo", NOISY_PHOTOS.values(), ids=NOISY_PHOTOS)
def test_pixels_are_the_same_in_a_graph_as_eagerly(tf: Any, photo: bytes) -> None:
    graph = tf.function(
        lambda encoded: decoding.decode(encoded, InputSpec(24, 32)),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    eagerly = decoding.decode(tf.constant(photo), InputSpec(24, 32))
    np.testing.assert_array_equal(graph(photo).numpy(), eagerly.numpy())


@pytest.mark.parametrize("scale", [4, 8])  # at 2, bilinear sampling is the average
def test_a_large_jpeg_is_averaged_and_not_sampled(scale: int) -> None:
    large = noise().resize((40 * scale, 24 * scale), Image.Resampling.NEAREST)
    generator = np.random.default_rng(0)
    grain = generator.normal(0, 30, (24 * scale, 40 * scale, 1))
    grainy = Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))
    average = np.asarray(grainy.reduce(scale)) / 255
    errors = {
        kind: np.abs(
            decoding.decode(encoded(grainy, kind, **options), InputSpec(24, 40)).numpy() - average
        )
        for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}))
    }
    assert errors["JPEG"].mean() < errors["PNG"].mean() / 2


def test_a_jpeg_is_not_shrunk_below_the_wanted_size(tf: Any) -> None:
    photo = encoded(noise().resize((63, 200)), "JPEG", quality=100)
    whole = tf.image.resize(tf.io.decode_jpeg(photo), (32, 32)) * (1 / 255.0)
    np.testing.assert_array_equal(decoding.decode(photo, InputSpec(32, 32)).numpy(), whole.numpy())


def test_a_batch_holds_what_each_photo_gives_and_zeros_for_what_is_none(tf: Any) -> None:
    photo = encoded(noise(), "JPEG")
    good = [encoded(noise(seed), kind) for seed, kind in enumerate(["PNG", "WEBP", "BMP"])]
    batch = [b"", good[0], photo[: len(photo) // 2], good[1], good[2], b"no photo"]
    run = tf.function(lambda files: decoding.decode_batch(files, InputSpec(16, 24)))
    pixels, readable = run(tf.constant(batch))
    assert readable.numpy().tolist() == [False, True, False, True, True, False]
    for place, content in zip((1, 3, 4), good, strict=True):
        np.testing.assert_array_equal(pixels[place], decoding.decode(content, InputSpec(16, 24)))
    assert not pixels.numpy()[[0, 2, 5]].any()


@pytest.mark.parametrize("batch", [[], [b"no photo"], [b"no photo"] * 40])
def test_a_batch_without_a_photo_is_all_zeros(tf: Any, batch: list[bytes]) -> None:
    run = tf.function(lambda files: decoding.decode_batch(files, InputSpec(16, 24)))
    pixels, readable = run(tf.constant(batch, tf.string))
    assert pixels.shape == (len(batch), 16, 24, 3)
    assert readable.shape == (len(batch),)
    assert not pixels.numpy().any()
    assert not readable.numpy().any()
