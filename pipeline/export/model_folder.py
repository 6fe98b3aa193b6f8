"""The folder of an exported model, with everything others need to use it without this project.

saved_model/            for TensorFlow Serving: `saved_model.py`
output_graph.pb         frozen graph, as in retrain.py: `saved_model.py`
output_labels.txt       one label per line, in the order of the outputs
model-*.tflite          for phones, optional: `tflite.py`
model.onnx              for other runtimes, optional: `onnx.py`
model.json              inputs and outputs of these files, for programs: `model_json.py`
model_card.md, .json    the model card, for people: `model_card.py`
head.npz, recipe.json   the head, and how its input vectors are made
familiarity.npz         the parameters of `known`
photos.parquet, ...     the files of the evaluation, such as the photos that the head was trained on
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.recipe import Recipe
from pipeline.export import model_card, model_json, onnx, parity, saved_model, tflite
from pipeline.files import atomic
from pipeline.files.places import Place
from pipeline.head import softmax_head
from pipeline.photos import manifest

FORMAT_VERSION = 6  # raise it when the exported files change


@dataclass(frozen=True)
class Options:
    """The files to write besides the SavedModel.

    Attributes:
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].
        tflite: TFLite files, of `tflite.KINDS`.
        onnx: whether to write an ONNX file.
    """

    final_tensor_name: str = "final_result"
    tflite: tuple[str, ...] = ()
    onnx: bool = False


@dataclass(frozen=True)
class Source:
    """The inputs of an exported model.

    Attributes:
        head, evaluation: folders of the head and its evaluation, whose files are included.
        recipe: recipe of the vectors that the head was trained on.
        manifest: manifest of the photos.
        image_dir: folder that the photos' paths are relative to.
    """

    head: Path
    evaluation: Path
    recipe: Recipe
    manifest: Path
    image_dir: Place


def write(source: Source, options: Options, directory: Path) -> None:
    """Write the folder of a model atomically, unless it exists already.

    Raises:
        UserError: as `saved_model.write`; or if a package for an optional file is missing, or a
            photo does not exist any more.
    """
    if directory.is_dir():
        return
    with atomic.write(directory) as temporary:
        shutil.copytree(source.evaluation, temporary)
        module, head = source.recipe.module, softmax_head.read(source.head)
        saved_model.write(head, module, temporary, options.final_tensor_name)
        shutil.copytree(source.head, temporary, dirs_exist_ok=True)
        recipe.write(source.recipe, temporary)
        tensors = (saved_model.INPUT_TENSOR, options.final_tensor_name)
        for kind in options.tflite:
            photos = manifest.read(source.manifest)
            tflite.write(temporary, kind, head.labels, module.input, source.image_dir, photos)
        if options.onnx:
            onnx.write(temporary, tensors, head.labels)
        results = parity.measure(temporary, source.image_dir, module.input, tensors)
        summary = manifest.read_summary(source.manifest)
        model_card.write(temporary, source.recipe, summary, results)
        model_json.write(temporary, source.recipe, head.labels, tensors, results)
