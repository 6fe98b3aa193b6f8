"""What makes a vector, besides the photo: the identity of everything in the bottleneck store."""

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.files import atomic, naming
from pipeline.modules.loading import Module
from pipeline.photos.augmentation import Augmentation
from pipeline.photos.decoding import PREPROCESSING_VERSION

_NOT_IN_THE_KEY = ("module", "augmentation")  # the module's digest is
FORMAT_VERSION = 2  # raise it when the meaning of a column of the bottlenecks changes


@dataclass(frozen=True)
class Recipe:
    """All that makes a vector, besides the photo.

    Attributes:
        module: the feature extractor.
        precision: float32, bfloat16 or float16, as `features.resolve_precision` gives it.
        vector_type: how vectors are stored, float16 or float32.
        augmentation: the distorted copies that training photos have beside them. Not part of the
            key: the photos' own vectors are the same whatever copies there are.
    """

    module: Module
    precision: str
    vector_type: str
    augmentation: Augmentation = field(default_factory=Augmentation)

    @cached_property
    def key(self) -> str:
        """Digest of all of it: the module's content counts, not what it is called."""
        facts = self.facts()
        return naming.digest({name: facts[name] for name in facts if name not in _NOT_IN_THE_KEY})

    def directory(self, store: Path) -> Path:
        """Where vectors made this way live."""
        size = f"{self.module.height}x{self.module.width}"
        return store / f"{size}-{self.precision}-{self.key}"

    def facts(self) -> dict[str, object]:
        """What each file says of itself."""
        return {
            "module": self.module.handle,
            "module_digest": self.module.digest,
            "height": self.module.height,
            "width": self.module.width,
            "features": self.module.features,
            "image_range": self.module.image_range,
            "preprocessing": PREPROCESSING_VERSION,
            "precision": self.precision,
            "vector_type": self.vector_type,
            "format_version": FORMAT_VERSION,
            "augmentation": self.augmentation.key,
        }


def write(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON."""
    with atomic.write(path) as temporary:
        temporary.write_text(json.dumps(asdict(recipe), indent=2) + "\n")


def read(path: Path) -> Recipe:
    """Read what `write` wrote."""
    fields = json.loads(path.read_text())
    module = Module(**fields.pop("module"))
    return Recipe(module, augmentation=Augmentation(**fields.pop("augmentation")), **fields)
