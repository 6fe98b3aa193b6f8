"""Find the photos and split them."""

import functools
from collections.abc import Iterable

import luigi
import pandas as pd

from pipeline.errors import OutageError, UserError
from pipeline.files import naming, places
from pipeline.files.damage import UNREADABLE
from pipeline.photos import corrections, manifest, remarks, split
from pipeline.photos.corrections import Correction
from pipeline.photos.listing import Listing, list_photos
from pipeline.review import last_run
from tasks.data_options import SAMPLE_DIR, DataOptions
from tasks.fetch_dataset import FetchDataset
from tasks.messages import logger
from tasks.sample_photos import SamplePhotos
from tasks.step import Pending, Result, Step, fetch, local_path

# A run uses the folder as it was at its start, however often Luigi asks for a target.
_list_photos = functools.cache(list_photos)
_read_summary = functools.cache(manifest.read_summary)
_digest_lists = functools.cache(split.digest_lists)
_read_corrections = functools.cache(last_run.read_corrections)
_reported = set[tuple[object, object]]()  # image and output folders whose problems were logged


class SplitDataset(DataOptions, Step):
    """Write the manifest: one row per photo, with its content digest, split and status."""

    priority = 1  # problems with the photos should be reported before the module is loaded

    def requires(self) -> list[luigi.Task]:
        if self.dataset:
            return [self.clone(FetchDataset)]
        is_sample = places.absolute(self.image_dir) == places.absolute(SAMPLE_DIR)
        return [SamplePhotos()] if is_sample else []

    def output(self) -> luigi.Target:
        try:
            made_of = [self._listing().digest, self._rule_digest(), manifest.FORMAT_VERSION]
            made_of += self.correction_key()
        except OutageError:
            raise
        except UserError:  # `work` reports the problem
            return Pending()
        name = f"{naming.digest(*made_of)}.parquet"
        return Result(self.output_dir, "manifests", name)

    def work(self) -> None:
        listing, rule, corrected = self._listing(), self._rule(), self.corrected()
        if listing.tar_files.empty:  # the content of tar files is not known yet
            self._compare(rule, listing.photos["path"])
            self._warn(remarks.label_lines(listing.labels))
        target = local_path(self.output())
        self.output_store.fetch_newest(target.parent)  # photos that it lists are not read again
        previous = manifest.newest(target.parent, self.image_dir, self.layout)
        unfinished = target.with_name(f".unfinished-{target.name}")
        table = manifest.build(
            listing,
            self.image_dir,
            rule,
            previous,
            self.reporter,
            unfinished,
            corrected,
            self.corrections_file,
        )
        if not listing.tar_files.empty:
            self._compare(rule, table["path"].to_pandas())
        manifest.write(table, target)
        unfinished.unlink(missing_ok=True)
        summary = _read_summary(target)
        if not listing.tar_files.empty:
            self._warn(remarks.label_lines(list(summary.by_label)))
        _reported.add((self.image_dir, self.output_dir))
        self._warn(remarks.summary_lines(table, listing, self.image_dir, rule))
        if applied := manifest.applied(table.schema):
            file, output = self.corrections_file, self.output_store.url
            self._warn(remarks.correction_lines(applied, list(summary.by_label), file, output))
        logger.info("%s. All photos are listed in %s", summary, target)

    def labels(self) -> tuple[str, ...]:
        """Return the classes, or an empty tuple until they can be known."""
        try:
            listing = self._listing()
            given = map(self.layout.merged, corrections.labels(self.corrected()))
        except UserError:
            return ()
        if listing.tar_files.empty:
            return tuple(sorted({*listing.labels, *given}))
        summary = self.summary()
        return tuple(c.label for c in summary.classes) if summary else ()

    def count(self) -> int:
        """Return an upper bound of the photos; those in tar files count with the manifest."""
        try:
            listing = self._listing()
        except UserError:
            return 0
        summary = None if listing.tar_files.empty else self.summary()
        usable = sum(c.usable for c in summary.classes) if summary else 0
        return max(len(listing.photos), usable)

    def summary(self) -> manifest.Summary | None:
        """Return the manifest's summary, or None until there is an undamaged manifest."""
        target = self.output()
        try:
            return _read_summary(fetch(target)) if target.exists() else None
        except UNREADABLE:
            return None

    def complete(self) -> bool:
        return self.summary() is not None

    def corrected(self) -> tuple[Correction, ...]:
        """Return the corrections as they were at the start of the run."""
        return _read_corrections(self.output_dir, self.corrections_file)

    def correction_key(self) -> list[str]:
        """Return what corrections add to the digest of a result: nothing if there are none."""
        return list(filter(None, [corrections.key(self.corrected())]))

    def _compare(self, rule: split.SplitRule, paths: "pd.Series[str]") -> None:
        """Warn about photos and lines that do not match in a predefined split."""
        if isinstance(rule.predefined, split.PredefinedSplit):
            self._warn(split.summary_lines(rule.predefined, manifest.unpacked(paths)))

    def _warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            logger.warning(line)

    def _listing(self) -> Listing:
        return _list_photos(self.image_dir, self.layout, self.output_dir)

    def _rule(self) -> split.SplitRule:
        predefined = split.read_predefined(self.split_file) if self.split_file else None
        return split.SplitRule(*self.percentages, predefined, self.group_duplicates)

    def _rule_digest(self) -> str:
        lists = _digest_lists(self.split_file) if self.split_file else ""
        return naming.digest(*self.percentages, lists, self.group_duplicates, self.layout.key)


@luigi.Task.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _remind(task: luigi.Task) -> None:
    """Log once how many photos are set aside, in a run that does not split them again."""
    if not isinstance(task, DataOptions) or (task.image_dir, task.output_dir) in _reported:
        return
    manifest_step: SplitDataset = task.clone(SplitDataset)
    summary = manifest_step.summary()
    if summary is None:
        return
    _reported.add((task.image_dir, task.output_dir))
    if summary.set_aside:
        target = local_path(manifest_step.output())
        logger.warning(
            "Photos set aside: %s; the column status of %s has the reasons",
            f"{summary.set_aside:,}",
            target,
        )
