"""Single prediction: classify one photo with an exported model.

python -m pipeline.prediction.single PHOTO
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.bottlenecks import extraction, writer
from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.files import places
from pipeline.files.places import Place
from pipeline.modules import failures
from pipeline.nightly import shared_state
from pipeline.photos import discovery, inspection, sources

TOP = 5  # labels


@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one photo.

    Attributes:
        answers: labels and probabilities, best first.
        known: share of the known photos that fit no better; None for a model of an earlier version.
        warning: a sentence that says so if the photo is unknown; else empty.
    """

    answers: list[tuple[str, float]]
    known: float | None
    warning: str


# From a photo's bytes. A UserError says why there is no prediction.
Classify = Callable[[bytes], Prediction]


def load(model: Path, top: int = TOP) -> Classify:
    """Load an exported model as a function.

    It refuses photos that training sets aside, even if TensorFlow can decode them.

    Args:
        model: folder of the model.
        top: number of labels to return.

    Raises:
        UserError: if there is no such model. The function raises it for an unusable photo, or if
            the module raises an error.
    """
    description = model_json.read(model)
    handle, spec = description["module"]["handle"], model_json.input_spec(description)
    facts = description.get("known") or {"unknown_rate": 0, "other_class": ""}
    warning = _warning([label for label in description["labels"] if label != facts["other_class"]])
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(tensorflow_import.literal_path(model / "saved_model"))
    signature = loaded.signatures["serving_default"]

    def classify(encoded: bytes, _kept: object = loaded) -> Prediction:
        status = inspection.inspect_bytes(encoded).status
        if status != inspection.OK:
            raise UserError(status)
        outputs = failures.call(
            lambda photo: signature(image_bytes=photo),
            tf.constant([encoded]),
            f"the model's module, {handle},",
            remedy="try another photo, or use another model",
        )
        labels = [label.decode() for label in outputs["classes"].numpy()[0, :top]]
        if not labels[0]:
            raise UserError(extraction.decode_problem(encoded, spec) or writer.NOT_FINITE)
        answers = list(zip(labels, outputs["scores"].numpy()[0, :top].tolist(), strict=True))
        if "known" not in outputs:
            return Prediction(answers, None, "")
        known = outputs["known"].numpy()[0]  # compared in float32, where 1 / 20 is at most 0.05
        is_unknown = known <= facts["unknown_rate"]
        return Prediction(answers, float(known), warning if is_unknown else "")

    return classify


def _warning(classes: list[str]) -> str:
    what = f"any of the {len(classes)} classes" if len(classes) > 1 else classes[0]
    return f"This does not look like {what}."


def predict(image: Place, model: Path, top: int = TOP) -> Prediction:
    """Return the best labels of a photo and their probabilities, and how well it fits.

    Args:
        image: path or URL of the photo.
        model: folder of an exported model.
        top: number of labels.

    Raises:
        UserError: if there is no such model or photo, or the photo is unusable.
    """
    model_json.read(model)
    if isinstance(image, Path) and image.is_dir():
        raise UserError(
            f"image: {image} is a folder; for all its photos: make predict-images IMAGES={image}"
        )
    try:
        problem = discovery.describe(image).unusable if sources.is_file(image) else ""
        encoded = b"" if problem else sources.read(image)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        raise UserError(f"image: {image}: {problem}")
    classify = load(model, top)
    try:
        return classify(encoded)
    except UserError as error:
        raise UserError(f"image: {image}: {error}") from None


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
    # A terminal or pipe may lack letters of the labels.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for label, probability in prediction.answers:
        print(f"{probability:7.2%}  {label}")
    if prediction.known is not None:
        text = f"{prediction.known:7.2%} of the known photos fit no better. {prediction.warning}"
        print(text.rstrip())


if __name__ == "__main__":
    main()
