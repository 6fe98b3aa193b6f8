"""The last run: its findings, photos and options, and the commands that continue it.

`last_run.json` in the output folder names them. Every run that includes the data checks writes it,
even if all of its results exist already.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks
from pipeline.files import atomic, make, output_store, places
from pipeline.files.damage import UNREADABLE
from pipeline.files.numbers import counted
from pipeline.files.output_store import RemoteOutputStore
from pipeline.files.places import Place
from pipeline.photos import changes, corrections, manifest
from pipeline.photos.corrections import Correction

FILE = "last_run.json"
IMAGE_DIR, DATASET, CORRECTIONS = "image_dir", "dataset", "corrections"  # options


@dataclass(frozen=True)
class LastRun:
    """The last run that included the data checks.

    Attributes:
        output_dir: the local output folder.
        image_dir: folder that the paths are relative to.
        photos: rows of the manifest.
        folder_labels: labels of the photos that corrections relabelled before them, by path.
        findings: rows of the findings.
        options: those that differ from the defaults, as texts, except the output folder.
    """

    output_dir: Path
    image_dir: Place
    photos: pd.DataFrame
    folder_labels: Mapping[str, str]
    findings: pd.DataFrame
    options: Mapping[str, str]

    def corrections_file(self, named: str) -> Place:
        """Return the place of the corrections: the named one, or else that of the run."""
        return corrections.place(named or self.options.get(CORRECTIONS, ""), self.output_dir)

    def command(self, target: str, file: Place, *more: str) -> str:
        """Return a make command with the folders of the run; `train` also gets its options.

        Args:
            target: of the Makefile.
            file: place of the corrections.
            more: further words.
        """
        words = list[str]()
        options = {name: text for name, text in self.options.items() if name != CORRECTIONS}
        image_dir = options.pop(IMAGE_DIR)
        if target == "train" and DATASET not in options:
            words.append(f"IMAGE_DIR={image_dir}")
        words.append(f"OUTPUT_DIR={output_store.open_store(self.output_dir).url}")
        if file != corrections.place("", self.output_dir):
            words.append(f"CORRECTIONS={file}")
        return make.command(target, *words, *more, options=options if target == "train" else {})


def record(
    output_dir: Path, findings: Path, listed: Path, options: Mapping[str, str], lines: int = 0
) -> Path | None:
    """Record a run as the last one.

    Args:
        output_dir: the local output folder.
        findings, listed: its findings and its manifest.
        options: as in `LastRun`, with `image_dir`.
        lines: number of corrections in force.

    Returns:
        The manifest of the run before, which may not exist any more; None if there was none.
    """
    fields = {
        "findings": findings.name,
        "manifest": listed.name,
        "options": dict(options),
        "lines": lines,
    }
    content = f"{json.dumps(fields, indent=2)}\n".encode()
    path, store = output_dir / FILE, output_store.open_store(output_dir)
    before = store.read(path)
    if before != content and isinstance(store, RemoteOutputStore):
        store.write(path, content)
    elif before != content:
        with atomic.write(path) as temporary:
            temporary.write_bytes(content)
    name = _parse(before).get("manifest")
    return output_dir / "manifests" / name if name else None


def options(output_dir: Path) -> dict[str, str]:
    """Return the options of the last run, as `record` got them.

    Raises:
        UserError: if there is none.
    """
    given: dict[str, str] = recorded(output_dir)["options"]
    return given


def find(output_dir: Path) -> LastRun:
    """Return the last run, even if a data check stopped it or its model was rejected.

    Raises:
        UserError: if there is none, or its results were deleted.
    """
    fields = recorded(output_dir)
    findings = output_dir / "checks" / fields["findings"]
    listed = output_dir / "manifests" / fields["manifest"]
    output_store.open_store(output_dir).fetch([findings, listed])
    try:
        folder = places.parse(manifest.image_dir(listed))
        applied, photos = manifest.read_applied(listed), manifest.read(listed)
        labels = applied.relabelled if applied else {}
        found = checks.read(findings)
        return LastRun(output_dir, folder, photos, labels, found, fields["options"])
    except UNREADABLE:
        raise UserError(
            f"results of the last run in {output_dir} are missing; run it again"
        ) from None


def recorded(output_dir: Path) -> dict[str, Any]:
    """Return what `record` wrote last.

    Raises:
        UserError: if there is nothing.
    """
    if fields := _recorded(output_dir):
        return fields
    url = output_store.open_store(output_dir).url
    raise UserError(
        f"there is no run with findings in {url}; pass the OUTPUT_DIR of your runs, or "
        f"check the photos first: make check IMAGE_DIR=... OUTPUT_DIR={url}"
    )


def _recorded(output_dir: Path) -> dict[str, Any]:
    return _parse(output_store.open_store(output_dir).read(output_dir / FILE))


def _parse(content: bytes | None) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(content or b"{}")
    except ValueError:
        return {}
    return fields


def read_corrections(output_dir: Path, file: Place) -> tuple[Correction, ...]:
    """Return the corrections in force.

    Raises:
        UserError: if the file is invalid; or gone, although the last run found lines in it.
    """
    is_default = file == corrections.place("", output_dir)
    if is_default and isinstance(file, Path) and not file.exists():
        fields = _recorded(output_dir)
        if CORRECTIONS not in fields.get("options", {}) and (lines := fields.get("lines", 0)):
            raise UserError(
                f"corrections: {file} is gone, but the last run applied its "
                f"{counted(lines, 'line')}; {corrections.RESTORE}"
            )
    return corrections.read(file)


def withdrawn_lines(
    output_dir: Path, earlier: Path | None, listed: Path, corrected: Sequence[Correction]
) -> Iterator[str]:
    """Yield which corrections the run before applied, and this one does not.

    Args:
        output_dir: the local output folder.
        earlier: the manifest of the run before, if any.
        listed: the manifest of this run.
        corrected: the corrections in force.
    """
    store = output_store.open_store(output_dir)
    if earlier is None or earlier == listed:
        return
    try:
        store.fetch([earlier])
        applied = manifest.read_applied(earlier)
        before = manifest.read(earlier) if applied else None
    except (*UNREADABLE, UserError):  # it was deleted, or is damaged
        return
    if applied:
        store.fetch([listed])
        rows = changes.withdrawn(before, applied, manifest.read(listed), corrected)
        yield from changes.withdrawn_lines(rows)
