"""Prepare the module."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.modules import consistency, engines, frozen_graph, loading, preparation
from pipeline.progress import Progress
from tasks.messages import logger
from tasks.options import ModuleOptions
from tasks.step import Pending, Result, Step, fetch, local_path


class PrepareModule(ModuleOptions, Step):
    """Build or download the module, and record its input size, vector width and digest."""

    _module: loading.Module | None = None  # every class asks for it, and it does not change

    def output(self) -> Pending | Result:
        try:
            stamp = preparation.fingerprint(self.tfhub_module)
        except UserError:  # `work` reports the problem
            return Pending()
        engine = engines.candidate(self.inference_engine)
        others = (self.module_output, self.exif_orientation, self.background, engine)
        key = naming.digest(stamp, self.image_size, self.image_range, self.module_sha256, *others)
        name = f"{preparation.short_name(self.tfhub_module)}-{key}.json"
        return Result(self.output_dir, "modules", name)

    def complete(self) -> bool:
        return self.module() is not None

    def module(self) -> loading.Module | None:
        """Return the prepared module, or None until there is one."""
        if self._module is None or not _is_here(self._module):
            target = self.output()
            module = _read(fetch(target)) if target.exists() else None
            # With a remote output store, the module may be on another machine.
            known = module and (self.output_store.is_remote or _is_here(module))
            self._module = module if known else None
        return self._module

    def ready(self, progress: Progress) -> loading.Module:
        """Return the module on this machine, preparing it again if another machine did so."""
        module = self.module()
        assert module is not None
        if not _is_here(module):
            module = self._prepare(module.digest, progress)
            loading.write(module, local_path(self.output()))
            self._module = module
        return module

    def work(self) -> None:
        self.prepare(self.reporter)

    def prepare(self, progress: Progress) -> None:
        """Prepare the module, and write its description."""
        module = self._prepare(self.module_sha256, progress)
        loading.write(module, local_path(self.output()))  # named after what was downloaded

    def _prepare(self, sha256: str, progress: Progress) -> loading.Module:
        folder = preparation.folder(self.tfhub_module, self.output_dir)
        target = self.output()
        # A run with another output folder may have prepared it.
        known = isinstance(target, Result) and _read(folder / local_path(target).name)
        if known and _is_here(known) and sha256 in ("", known.digest):
            return known
        logger.info(
            "Preparing the module %s: fetching or building it, trying it alone, and choosing the "
            "inference engine. This can take minutes, once",
            self.tfhub_module,
        )
        module = preparation.prepare(
            self.tfhub_module,
            folder,
            self.image_size,
            self.image_range,
            sha256,
            self.module_output,
            progress,
        )
        if warning := consistency.check(module):
            logger.warning(warning)
        module = replace(module, exif_orientation=self.exif_orientation, background=self.background)
        record = folder / local_path(self.output()).name  # which contains a digest of a download
        module = frozen_graph.freeze(module, record.with_suffix(".pb"))
        engine = engines.choose(module, self.inference_engine)
        module = replace(module, engine=engine)
        loading.write(module, record)
        return module


def _read(path: Path) -> loading.Module | None:
    """Read a module's description, if there is one of the current format."""
    with suppress(OSError, ValueError, TypeError):
        return loading.read(path)
    return None


def _is_here(module: loading.Module) -> bool:
    """Return whether a module and its frozen graph, if it has one, are on this machine."""
    frozen = not module.frozen or Path(module.frozen).is_file()
    return frozen and Path(module.directory).is_dir()
