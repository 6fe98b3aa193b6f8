"""Get the module ready."""

from contextlib import suppress
from pathlib import Path

from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.files import naming, output_store
from pipeline.modules import frozen_graph, loading, preparation
from pipeline.progress import Progress
from tasks.options import ModuleOptions
from tasks.step import Pending, Result, Step, path, place


class PrepareModule(ModuleOptions, Step):
    """Build or fetch the module, and write down what it is: size, width, content digest."""

    _known: loading.Module | None = None  # each class asks for it, and nothing else would change it

    def output(self) -> Pending | Result:
        try:
            stamp = preparation.fingerprint(self.tfhub_module)
        except UserError:  # `work` will say what is wrong
            return Pending()
        key = naming.digest(stamp, self.image_size, self.image_range, self.module_sha256)
        name = f"{preparation.short_name(self.tfhub_module)}-{key}.json"
        return Result(self.output_dir, "modules", name)

    def complete(self) -> bool:
        return self.module() is not None

    def module(self) -> loading.Module | None:
        """What is known of the module, once it is ready and written down whole."""
        if self._known is None or not Path(self._known.directory).is_dir():
            self._known = None
            target = self.output()
            with suppress(ValueError, TypeError):
                module = loading.read(path(target)) if target.exists() else None
                # With an object store, it may be ready on another machine.
                if module and (output_store.of(self.output_dir) or Path(module.directory).is_dir()):
                    self._known = module
        return self._known

    def ready(self, progress: Progress) -> loading.Module:
        """The module on this machine, to be run; prepared again where that was elsewhere."""
        module = self.module()
        assert module is not None
        if not Path(module.directory).is_dir():
            module = self._prepare(module.digest, progress)
            loading.write(module, place(self.output()))
            self._known = module
        return module

    def work(self) -> None:
        module = self._prepare(self.module_sha256, self.reporter)
        loading.write(module, place(self.output()))  # whose name only now knows what was fetched

    def _prepare(self, sha256: str, progress: Progress) -> loading.Module:
        module = preparation.prepare(
            self.tfhub_module,
            self.output_dir / "modules",
            self.image_size,
            self.image_range,
            sha256,
            progress,
        )
        return frozen_graph.freeze(
            module, extraction.BATCH, place(self.output()).with_suffix(".pb")
        )
