"""Classes that are too small, alone or beside the others."""

from collections.abc import Iterator

from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.photos import inspection, manifest

SMALL, IMBALANCE = "small_class", "imbalance"
_TIMES = 10  # that the largest class may be larger


def find(subject: CheckContext) -> Iterator[Finding]:
    """Classes with few photos, and classes much smaller than the largest."""
    listed = subject.listed
    usable = (listed["status"] == inspection.OK).groupby(listed["label"]).sum()
    largest = int(usable.max())
    for label, count in usable.items():
        if count < manifest.FEW_PHOTOS:
            detail = f"{count} photos; below {manifest.FEW_PHOTOS}, a class is learnt less well"
            yield Finding(SMALL, detail, label=str(label), score=-float(count))
        if count * _TIMES < largest:
            detail = f"{count} photos; {usable.idxmax()} has {largest:,}"
            yield Finding(IMBALANCE, detail, label=str(label), score=-float(count))
