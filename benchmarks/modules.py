"""Cost of modules per photo: `make bench-modules`.

Keras applications have random weights, which take as long as trained ones, and their usual input
size. All modules take turns: see `speed.seconds_per_photo`.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bottlenecks import alone, processor, show
from benchmarks.manifest import peak
from pipeline.bottlenecks import extraction
from pipeline.modules import (
    efficientnet_lite,
    engines,
    frozen_graph,
    keras_export,
    preparation,
    speed,
)
from pipeline.modules.loading import Module

APPLICATIONS = (
    *("MobileNetV3Small", "MobileNetV3Large", "MobileNetV2", "EfficientNetB0"),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3"),
    *("DenseNet121", "ResNet50", "InceptionV3", "Xception"),
    *("EfficientNetV2S", "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase"),
)


def prepare(name: str, scratch: Path) -> tuple[Module, dict[str, Any]]:
    """Prepare a module as the step PrepareModule does, and measure that."""
    handle = name if name in efficientnet_lite.VARIANTS else random_application(name, scratch)
    start = time.perf_counter()
    module = preparation.prepare(handle, scratch)
    frozen = scratch / f"{Path(module.directory).name}.pb"
    module = frozen_graph.freeze(module, frozen)
    module = replace(module, engine=engines.choose(module, engines.AUTO))
    size = sum(path.stat().st_size for path in Path(module.directory).rglob("*") if path.is_file())
    return module, {
        "engine": module.engine if module.frozen else f"{module.engine}, not frozen",
        "prepared, s": time.perf_counter() - start,
        "memory, GB": peak(),
        "on disk, MB": size / 2**20,
    }


def random_application(name: str, scratch: Path) -> str:
    """Save random weights of a Keras application, and return its handle."""
    path = scratch / f"{name}.weights.h5"
    application = getattr(keras_export.import_keras().applications, name)
    application(include_top=False, weights=None).save_weights(path)
    return f"keras:{name}@{path}"


def main() -> None:
    """Print a table of the time and memory that modules take."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", help="Keras applications", default=APPLICATIONS)
    names = [*efficientnet_lite.VARIANTS, *parser.parse_args().names]
    precision = engines.resolve_precision(engines.AUTO)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        prepared = [alone(prepare, name, scratch) for name in names]
        modules = [module for module, _ in prepared]
        seconds = speed.seconds_per_photo(modules, precision, extraction.BATCH)
    print(f"Processor: {processor()}; {precision}")
    rows = [
        {
            "module": module.handle.split("@")[0],
            "input": module.height,
            "vector": module.features,
            "ms a photo": f"{1000 * taken:.2f}",
            "relative": taken / seconds[0],
            **facts,
        }
        for (module, facts), taken in zip(prepared, seconds, strict=True)
    ]
    show(rows)


if __name__ == "__main__":
    main()
