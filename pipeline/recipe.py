"""What makes a vector, besides the photo: the identity of everything in the bottleneck store."""

from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.images import PREPROCESSING_VERSION
from pipeline.modules import Module

FORMAT_VERSION = 1  # raise it when the meaning of a column of the bottlenecks changes


@dataclass(frozen=True)
class Recipe:
    """All that makes a vector, besides the photo.

    Attributes:
        module: the feature extractor.
        precision: float32 or bfloat16, as `features.resolve_precision` gives it.
        vector_type: how vectors are stored, float16 or float32.
    """

    module: Module
    precision: str
    vector_type: str

    @property
    def key(self) -> str:
        """Digest of all of it: the module's content counts, not what it is called."""
        facts = {name: value for name, value in self.facts().items() if name != "module"}
        return storage.digest(facts)

    def directory(self, store: Path) -> Path:
        """Where vectors made this way live."""
        size = f"{self.module.height}x{self.module.width}"
        return store / f"{size}-{self.precision}-{self.key}"

    def facts(self) -> dict[str, object]:
        """What each file says of itself; all but the module's name is part of the identity."""
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
        }
