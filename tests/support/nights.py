"""Rows of the history."""

from pipeline.nightly import history
from pipeline.nightly.history import Night

FULL = Night(
    date="2026-11-25",
    outcome=history.PROMOTED,
    reason='"first" & last; 薔薇',
    key="abc",
    photos=1776,
    classes=50,
    arrived=12,
    gone=1,
    relabelled=2,
    test_photos=165,
    correct=159,
    fixed=3,
    broken=1,
    drift=0.25,
    flags=("one", "two"),
    seconds={"SplitDataset": 0.5, "TrainHead": 59.5},
    disk_bytes=51_000_000,
    model="m",
    evaluation="e",
    head="h",
    manifest="x.parquet",
    module="tuned/0123456789ab/lite",
    tuned=True,
    finished="2026-11-25T03:01:00+01:00",
)
