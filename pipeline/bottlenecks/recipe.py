"""Recipes: everything but the photo that determines a vector."""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pipeline.files import atomic, naming
from pipeline.modules import engines, handles
from pipeline.modules.loading import Module
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import PREPROCESSING_VERSION

_NOT_IN_THE_KEY = ("module", "augmentation")  # the key contains the module's digest
VECTOR_TYPES = ("float16", "float32")
FILE = handles.RECIPE
FORMAT_VERSION = 2  # raise it when the meaning of a column of the bottlenecks changes


@dataclass(frozen=True)
class Recipe:
    """Everything but the photo that determines a vector.

    Attributes:
        module: the feature extractor.
        precision: float32, bfloat16 or float16, as `engines.resolve_precision` returns it.
        vector_type: type of stored vectors, float16 or float32.
        augmentation: augmented copies of the training photos. It is not part of the key, since the
            photos' own vectors do not depend on it.
    """

    module: Module
    precision: str
    vector_type: str
    augmentation: Augmentation = field(default_factory=Augmentation)

    @cached_property
    def key(self) -> str:
        """Digest of the recipe, which depends on the module's content but not on its name."""
        facts = self.facts()
        return naming.digest({name: facts[name] for name in facts if name not in _NOT_IN_THE_KEY})

    def directory(self, root: Path) -> Path:
        """Return the folder of the recipe's vectors below the folder of all bottlenecks."""
        size = f"{self.module.height}x{self.module.width}"
        return root / f"{size}-{self.precision}-{self.key}"

    def facts(self) -> dict[str, object]:
        """Return the metadata of each file of vectors."""
        return {
            "module": self.module.handle,
            "module_digest": self.module.digest,
            "height": self.module.height,
            "width": self.module.width,
            "features": self.module.features,
            "image_range": self.module.image_range,
            "preprocessing": PREPROCESSING_VERSION,
            "exif_orientation": self.module.exif_orientation,
            "background": self.module.background,
            "precision": self.precision,
            "vector_type": self.vector_type,
            "format_version": FORMAT_VERSION,
            "augmentation": self.augmentation.key,
            # Left out if unset, so that the vectors of TensorFlow and of modules with one output
            # keep their key.
            **({"module_output": self.module.output} if self.module.output else {}),
            **({"engine": engine} if (engine := self.module.engine) != engines.TENSORFLOW else {}),
        }


def write(recipe: Recipe, model: Path) -> None:
    """Write a recipe as `recipe.json` into the folder of a model in `<output_dir>/models`.

    Paths in the output folder are stored relative to it, so that it can be moved.
    """
    output_dir = _output_dir(model)

    def stored(path: str) -> str:
        resolved = Path(path).resolve()
        inside = path and resolved.is_relative_to(output_dir)
        return str(resolved.relative_to(output_dir)) if inside else path

    module = recipe.module
    module = replace(module, directory=stored(module.directory), frozen=stored(module.frozen))
    with atomic.write(model / FILE) as temporary:
        temporary.write_text(json.dumps(asdict(replace(recipe, module=module)), indent=2) + "\n")


def read(model: Path) -> Recipe:
    """Read the recipe from the folder of a model."""
    recipe = parse((model / FILE).read_bytes())
    module = recipe.module
    directory, frozen = (
        str(_output_dir(model) / path) if path else "" for path in (module.directory, module.frozen)
    )
    return replace(recipe, module=replace(module, directory=directory, frozen=frozen))


def _output_dir(model: Path) -> Path:
    return model.resolve().parents[1]


def parse(content: bytes) -> Recipe:
    """Read a recipe from JSON, with its paths as they are stored."""
    fields = json.loads(content)
    # Models from before this option saw photos as they are stored.
    module = Module(**{"exif_orientation": False} | fields.pop("module"))
    return Recipe(module, augmentation=Augmentation(**fields.pop("augmentation")), **fields)


def directories(module: Module, root: Path) -> list[Path]:
    """Return the folders of all recipes with a module below the folder of all bottlenecks."""
    precisions = (engines.FLOAT32, engines.BFLOAT16, engines.FLOAT16)
    return [
        Recipe(module, precision, vector_type).directory(root)
        for precision in precisions
        for vector_type in VECTOR_TYPES
    ]
