"""The finished model as files that others can use without this project.

saved_model/        TensorFlow Serving: `serving_default` takes files, `pixels` takes pixels
output_graph.pb     frozen graph, from `Placeholder` to `final_result`, as retrain.py wrote it
output_labels.txt   one label a line, in the order of the outputs
model-*.tflite      for phones, where asked for: `tflite.py`
model.onnx          for other runtimes, where asked for: `onnx.py`
model.json          what all of these take and give: `contract.py`
model_card.md, .json    the same for people: `model_card.py`
head.npz, recipe.json   the head, and how the vectors that it takes are made
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import (
    contract,
    fidelity,
    images,
    manifest,
    model_card,
    modules,
    onnx,
    quiet,
    storage,
    tflite,
)
from pipeline import head as heads
from pipeline import recipe as recipes
from pipeline.errors import UserError
from pipeline.head import Head
from pipeline.modules import Module
from pipeline.recipe import Recipe
from pipeline.source import Place

FORMAT_VERSION = 3  # raise it when the exported files change
INPUT_TENSOR = "Placeholder"
_SERVED = 2  # versions kept for TensorFlow Serving: the newest, and the one it may still read


@dataclass(frozen=True)
class Options:
    """Which files are wanted, besides the SavedModel.

    Attributes:
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].
        tflite: of `tflite.KINDS`.
        onnx: whether an ONNX file is.
    """

    final_tensor_name: str = "final_result"
    tflite: tuple[str, ...] = ()
    onnx: bool = False


@dataclass(frozen=True)
class Source:
    """What a model is made of.

    Attributes:
        head, evaluation: folders whose files go with the model.
        recipe: how the vectors were made that the head was trained on.
        manifest: of the photos.
        image_dir: folder that the paths of photos are relative to.
    """

    head: Path
    evaluation: Path
    recipe: Recipe
    manifest: Path
    image_dir: Place


def publish(source: Source, options: Options, directory: Path) -> None:
    """Put a finished model into `directory`; one that is there already is kept.

    Raises:
        UserError: as `export`; where a package for a wanted file is missing; or where a photo is
            no longer there.
    """
    if directory.is_dir():
        return
    with storage.publish(directory) as temporary:
        shutil.copytree(source.evaluation, temporary)
        module, head = source.recipe.module, heads.read(source.head)
        export(head, module, temporary, options.final_tensor_name)
        shutil.copytree(source.head, temporary, dirs_exist_ok=True)
        recipes.write(source.recipe, temporary / "recipe.json")
        tensors = (INPUT_TENSOR, options.final_tensor_name)
        size = (module.height, module.width)
        for kind in options.tflite:
            photos = manifest.read(source.manifest)
            tflite.write(temporary, kind, head.labels, size, source.image_dir, photos)
        if options.onnx:
            onnx.write(temporary, tensors, head.labels)
        answers = fidelity.measure(temporary, source.image_dir, size, tensors)
        summary = manifest.read_summary(source.manifest)
        model_card.write(temporary, source.recipe, summary, answers)
        contract.write(temporary, source.recipe, head.labels, tensors, answers)


def release(directory: Path, output_dir: Path) -> None:
    """Let `current` lead to a model, and TensorFlow Serving find it as its newest version.

    `serving/<number>/` holds the SavedModel's files once more, as hard links, which take no room:
    a container that is given `serving` could not follow a symbolic link out of it.
    """
    serving = output_dir / "serving"
    numbers = sorted(int(p.name) for p in serving.glob("[0-9]*") if p.name.isdigit())
    newest = serving / str(numbers[-1] if numbers else 0)
    if not _same(newest, directory / "saved_model"):  # as after a run that was killed just here
        with storage.publish(serving / str(int(newest.name) + 1)) as temporary:
            shutil.copytree(directory / "saved_model", temporary, copy_function=_link)
        for number in numbers[: 1 - _SERVED]:
            shutil.rmtree(serving / str(number))
    storage.point(output_dir / "current", directory)


def _same(version: Path, saved_model: Path) -> bool:
    served = version / "saved_model.pb"
    return served.exists() and served.samefile(saved_model / "saved_model.pb")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def export(head: Head, module: Module, directory: Path, final_tensor_name: str) -> None:
    """Write the SavedModel, the frozen graph and the labels into `directory`.

    Args:
        head: the trained softmax layer.
        module: that makes its features.
        directory: a folder that is there.
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].

    Raises:
        UserError: where the tensor's name is not one, or the module cannot be loaded.
    """
    quiet.import_tensorflow()
    import tensorflow as tf

    named = re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.]*", final_tensor_name)
    if not named or final_tensor_name == INPUT_TENSOR:
        raise UserError(
            f"final_tensor_name is {final_tensor_name!r}; it must be of letters, digits, dots and "
            f"underscores, and not {INPUT_TENSOR}, which is the input"
        )
    features, loaded = modules.load(module)
    model = tf.Module()
    model.module = loaded
    model.weights = tf.Variable(head.weights, name="weights")
    model.bias = tf.Variable(head.bias, name="bias")
    model.labels = tf.constant(head.labels)
    size = [None, module.height, module.width, 3]

    def logits(pixels: Any) -> Any:
        return tf.matmul(features(pixels), model.weights) + model.bias

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32, name="image")], autograph=False)
    def from_pixels(image: Any) -> dict[str, Any]:
        """[batch, height, width, 3] in [0, 1] -> probabilities [batch, classes]."""
        return {"prediction": tf.nn.softmax(logits(image))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def from_bytes(image_bytes: Any) -> dict[str, Any]:
        """Encoded photos [batch] -> classes and scores, best first, and all probabilities.

        A photo that cannot be decoded gets empty classes, and 0 everywhere else.
        """
        pixels, readable = images.decode_batch(image_bytes, module.height, module.width)
        answered = from_pixels(pixels)["prediction"]
        probabilities = tf.where(readable[:, None], answered, 0.0)
        scores, best = tf.math.top_k(probabilities, len(head.labels))
        classes = tf.where(readable[:, None], tf.gather(model.labels, best), "")
        return {"classes": classes, "scores": scores, "probabilities": probabilities}

    model.from_pixels, model.from_bytes = from_pixels, from_bytes
    signatures = {"serving_default": from_bytes, "pixels": from_pixels}
    tf.saved_model.save(model, str(directory / "saved_model"), signatures=signatures)
    (directory / "output_labels.txt").write_text("\n".join(head.labels) + "\n", encoding="utf-8")
    graph = _frozen(logits, size, final_tensor_name)
    (directory / "output_graph.pb").write_bytes(graph.SerializeToString())


def _frozen(logits: Any, size: list[int | None], final_tensor_name: str) -> Any:
    """The graph from pixels to probabilities, its variables turned into constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    @tf.function(
        input_signature=[tf.TensorSpec(size, tf.float32, name=INPUT_TENSOR)], autograph=False
    )
    def frozen(pixels: Any) -> Any:
        return tf.nn.softmax(logits(pixels), name=final_tensor_name)

    constant = convert_variables_to_constants_v2(frozen.get_concrete_function())
    return constant.graph.as_graph_def()
