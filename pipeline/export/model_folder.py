"""The folder of an exported model."""

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

FORMAT_VERSION = 3  # raise it when the exported files change


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


def write(source: Source, options: Options, directory: Path) -> None:
    """Put a finished model into `directory`; one that is there already is kept.

    Raises:
        UserError: as `export`; where a package for a wanted file is missing; or where a photo is
            no longer there.
    """
    if directory.is_dir():
        return
    with atomic.write(directory) as temporary:
        shutil.copytree(source.evaluation, temporary)
        module, head = source.recipe.module, softmax_head.read(source.head)
        saved_model.write(head, module, temporary, options.final_tensor_name)
        shutil.copytree(source.head, temporary, dirs_exist_ok=True)
        recipe.write(source.recipe, temporary / "recipe.json")
        tensors = (saved_model.INPUT_TENSOR, options.final_tensor_name)
        size = (module.height, module.width)
        for kind in options.tflite:
            photos = manifest.read(source.manifest)
            tflite.write(temporary, kind, head.labels, size, source.image_dir, photos)
        if options.onnx:
            onnx.write(temporary, tensors, head.labels)
        answers = parity.measure(temporary, source.image_dir, size, tensors)
        summary = manifest.read_summary(source.manifest)
        model_card.write(temporary, source.recipe, summary, answers)
        model_json.write(temporary, source.recipe, head.labels, tensors, answers)
