"""The last run: the newest findings, and the photos that they are about."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks
from pipeline.files import output_store, places
from pipeline.files.damage import UNREADABLE
from pipeline.files.places import Place
from pipeline.photos import manifest


@dataclass(frozen=True)
class LastRun:
    """The last run of the data checks.

    Attributes:
        image_dir: folder that the paths are relative to.
        photos: rows of the manifest.
        findings: rows of the findings.
    """

    image_dir: Place
    photos: pd.DataFrame
    findings: pd.DataFrame


def find(output_dir: Path) -> LastRun:
    """Return the last run, even if a data check stopped it or its model was rejected.

    Raises:
        UserError: if there is none.
    """
    checked = _newest_first(output_dir / "checks")
    manifests = _newest_first(output_dir / "manifests")
    if not checked or not manifests:
        raise UserError(
            f"there are no findings in {output_dir}; pass the OUTPUT_DIR of your runs, or check "
            "the photos first with: make check"
        )
    findings = checks.read(checked[0])
    needed = set(findings["path"]) - {""}
    best: tuple[float, LastRun] | None = None
    for path, photos in _readable(manifests):
        present = len(needed.intersection(photos["path"])) / max(1, len(needed))
        if best is None or present > best[0]:
            folder = places.parse(manifest.image_dir(path))
            best = (present, LastRun(folder, photos, findings))
        if present == 1:
            break
    if best is None:
        raise UserError(f"no manifest in {output_dir} is readable; run: make check")
    return best[1]


def _newest_first(folder: Path) -> list[Path]:
    store = output_store.open_store(folder.parent)
    store.fetch([folder / name for name in store.entries(folder)])
    paths = list(folder.glob("[!.]*.parquet"))
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _readable(manifests: list[Path]) -> Iterator[tuple[Path, pd.DataFrame]]:
    for path in manifests:
        try:
            yield path, manifest.read(path)
        except (*UNREADABLE, UserError):
            continue
