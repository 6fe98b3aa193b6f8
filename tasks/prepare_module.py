"""Get the module ready."""

from contextlib import suppress
from pathlib import Path

import luigi

from pipeline import features, frozen, modules, storage
from pipeline.errors import UserError
from tasks.options import ModuleOptions
from tasks.step import Pending, Step, path


class PrepareModule(ModuleOptions, Step):
    """Build or fetch the module, and write down what it is: size, width, content digest."""

    _ready: modules.Module | None = None  # once it is: each class asks for it

    def output(self) -> luigi.Target:
        try:
            stamp = modules.stamp(self.tfhub_module)
        except UserError:  # `work` will say what is wrong
            return Pending()
        key = storage.digest(stamp, self.image_size, self.image_range, self.module_sha256)
        name = f"{modules.short_name(self.tfhub_module)}-{key}.json"
        return luigi.LocalTarget(self.output_dir / "modules" / name)

    def complete(self) -> bool:
        return self.module() is not None

    def module(self) -> modules.Module | None:
        """What is known of the module, once it is ready and written down whole."""
        if self._ready is None:
            target = self.output()
            with suppress(ValueError, TypeError):
                module = modules.read(path(target)) if target.exists() else None
                if module and Path(module.directory).is_dir():
                    self._ready = module
        return self._ready

    def work(self) -> None:
        module_dir = self.output_dir / "modules"
        module = modules.prepare(
            self.tfhub_module,
            module_dir,
            self.image_size,
            self.image_range,
            self.module_sha256,
            self.reporter,
        )
        written = path(self.output())  # whose name only now knows what was fetched
        module = frozen.freeze(module, features.BATCH, written.with_suffix(".pb"))
        modules.write(module, written)
