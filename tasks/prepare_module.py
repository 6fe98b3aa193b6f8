"""Get the module ready."""

from pathlib import Path

from pipeline import modules, storage
from pipeline.errors import UserError
from pipeline.progress import Progress
from tasks.options import ModuleOptions
from tasks.step import Pending, Result, Step, path, place


class PrepareModule(ModuleOptions, Step):
    """Build or fetch the module, and write down what it is: size, width, content digest."""

    def output(self) -> Pending | Result:
        try:
            stamp = modules.stamp(self.tfhub_module)
        except UserError:  # `work` will say what is wrong
            return Pending()
        key = storage.digest(stamp, self.image_size, self.image_range, self.module_sha256)
        name = f"{modules.short_name(self.tfhub_module)}-{key}.json"
        return Result(self.output_dir, "modules", name)

    def complete(self) -> bool:
        return self.module() is not None

    def module(self) -> modules.Module | None:
        """What is known of the module, once it is ready and written down whole."""
        target = self.output()
        if isinstance(target, Pending) or not target.exists():
            return None
        try:
            module = modules.read(path(target))
        except (ValueError, TypeError):
            return None
        # With an object store, it may be ready on another machine.
        return module if target.store or Path(module.directory).is_dir() else None

    def ready(self, progress: Progress) -> modules.Module:
        """The module on this machine, to be run; prepared again where that was elsewhere."""
        module = self.module()
        assert module is not None
        return module if Path(module.directory).is_dir() else self._prepare(module.digest, progress)

    def work(self) -> None:
        module = self._prepare(self.module_sha256, self.reporter)
        modules.write(module, place(self.output()))  # whose name only now knows what was fetched

    def _prepare(self, sha256: str, progress: Progress) -> modules.Module:
        return modules.prepare(
            self.tfhub_module,
            self.output_dir / "modules",
            self.image_size,
            self.image_range,
            sha256,
            progress,
        )
