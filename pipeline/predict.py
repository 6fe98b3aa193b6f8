"""Ask an exported model what is on a photo: `python -m pipeline.predict PHOTO`."""

import argparse
import sys
from pathlib import Path

from pipeline import quiet
from pipeline.errors import UserError


def predict(image: Path, model: Path, top: int = 5) -> list[tuple[str, float]]:
    """The best labels for one photo, and their probabilities, best first.

    Args:
        image: a photo's file.
        model: an exported model's folder.
        top: how many labels.

    Raises:
        UserError: where there is no such model, or no such photo, or it cannot be decoded.
    """
    if not (model / "saved_model").is_dir():
        raise UserError(f"there is no model in {model} yet; train one first with: make train")
    try:
        encoded = image.read_bytes()
    except OSError as error:
        raise UserError(f"image: {image} cannot be read: {error.strerror}") from None
    quiet.import_tensorflow()
    import tensorflow as tf

    answer = tf.saved_model.load(str(model / "saved_model")).signatures["serving_default"]
    try:
        found = answer(image_bytes=tf.constant([encoded]))
    except tf.errors.OpError:
        raise UserError(
            f"image: {image} is not a JPEG, PNG, GIF, BMP or WebP file that can be decoded"
        ) from None
    labels = [label.decode() for label in found["classes"].numpy()[0, :top]]
    return list(zip(labels, found["scores"].numpy()[0, :top].tolist(), strict=True))


def main() -> None:
    """Print the best labels, one a line, with their probabilities."""
    parser = argparse.ArgumentParser(description="Print the five best labels for a photo.")
    parser.add_argument("image", type=Path, help="a JPEG, PNG, GIF, BMP or WebP file")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("data/output/current"),
        help="folder of an exported model (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        answers = predict(arguments.image, arguments.model)
    except UserError as error:
        sys.exit(str(error))
    for label, probability in answers:
        print(f"{probability:7.2%}  {label}")


if __name__ == "__main__":
    main()
