"""Single prediction: classify one photo with an exported model.

python -m pipeline.prediction.single PHOTO
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.files import places
from pipeline.files.places import Place
from pipeline.nightly import shared_state
from pipeline.photos import sources

TOP = 5  # labels


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one photo.

    Attributes:
        answers: labels and probabilities, best first; empty if the photo cannot be decoded.
        known: share of the known photos that fit no better; None for a model of an earlier version.
        warning: a sentence that says so if the photo is unknown; else empty.
    """

    answers: list[tuple[str, float]]
    known: float | None = None
    warning: str = ""


# From a photo's bytes.
Classify = Callable[[bytes], Prediction]


def load(model: Path, top: int = TOP) -> Classify:
    """Load an exported model as a function.

    Args:
        model: folder of the model.
        top: number of labels to return.

    Raises:
        UserError: if there is no such model.
    """
    description = model_json.read(model)
    facts = description.get("known") or {"unknown_rate": 0, "other_class": ""}
    classes = len(description["labels"]) - bool(facts["other_class"])
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model / "saved_model"))
    signature = loaded.signatures["serving_default"]

    def classify(encoded: bytes, _kept: object = loaded) -> Prediction:
        outputs = signature(image_bytes=tf.constant([encoded]))
        labels = [label.decode() for label in outputs["classes"].numpy()[0, :top]]
        if not labels[0]:
            return Prediction([])
        answers = list(zip(labels, outputs["scores"].numpy()[0, :top].tolist(), strict=True))
        if "known" not in outputs:
            return Prediction(answers)
        known = outputs["known"].numpy()[0]
        is_unknown = known <= facts["unknown_rate"]
        warning = f"This does not look like any of the {classes} classes." if is_unknown else ""
        return Prediction(answers, float(known), warning)

    return classify


def predict(image: Place, model: Path, top: int = TOP) -> Prediction:
    """Return the best labels of a photo and their probabilities, and how well it fits.

    Args:
        image: path or URL of the photo.
        model: folder of an exported model.
        top: number of labels.

    Raises:
        UserError: if there is no such model or photo, or the photo cannot be decoded.
    """
    model_json.read(model)
    if isinstance(image, Path) and image.is_dir():
        raise UserError(
            f"image: {image} is a folder; for all its photos: make predict-images IMAGES={image}"
        )
    try:
        encoded = sources.read(image)
    except OSError as error:
        raise UserError(f"image: {image} cannot be read: {error.strerror}") from None
    prediction = load(model, top)(encoded)
    if not prediction.answers:
        raise UserError(
            f"image: {image} is not a readable JPEG, PNG, GIF, BMP or WebP file, or the module "
            "returns NaN for it; check the file"
        )
    return prediction


def main() -> None:
    """Print the best labels with their probabilities, one per line, and how well the photo fits."""
    parser = argparse.ArgumentParser(description="Print the five best labels of a photo.")
    parser.add_argument("image", help="a JPEG, PNG, GIF, BMP or WebP file, or its URL")
    parser.add_argument(
        "--model",
        default="data/output/current",
        help="folder of an exported model, or its URL (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        model = shared_state.resolve_model(arguments.model)
        prediction = predict(places.parse(arguments.image), model)
    except UserError as error:
        sys.exit(str(error))
    for label, probability in prediction.answers:
        print(f"{probability:7.2%}  {label}")
    if prediction.known is not None:
        text = f"{prediction.known:7.2%} of the known photos fit no better. {prediction.warning}"
        print(text.rstrip())


if __name__ == "__main__":
    main()
