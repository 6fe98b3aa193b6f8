"""An output folder with findings."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.evaluation.data_checks import checks
from pipeline.photos import manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from pipeline.review import last_run


@pytest.fixture
def checked(photo_dir: Path, tmp_path: Path) -> Path:
    """Return the output folder of a check of `photo_dir`: a leak, three labels, a small class."""
    out = tmp_path / "out"
    table = manifest.build(list_photos(photo_dir), photo_dir, SplitRule())
    manifest.write(table, out / "manifests/0123456789ab.parquet")
    photos = [("leak", 0, "red_rose/0.jpg"), ("leak", 0, "red_rose/1.jpg")]
    photos += [("label", n, f"red_rose/{n}.jpg") for n in (2, 3, 4)]
    findings = pd.DataFrame([*photos, ("small_class", 5, "")], columns=["kind", "finding", "path"])
    findings = findings.assign(label="red_rose", split="training", score=1.0, detail="why")
    checks.write(findings, out / "checks/0123456789ab.parquet")
    results = out / "checks/0123456789ab.parquet", out / "manifests/0123456789ab.parquet"
    last_run.record(out, *results, {"image_dir": str(photo_dir), "l2": "0.1"})
    return out
