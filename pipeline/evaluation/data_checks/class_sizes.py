"""Class sizes: classes with few photos, or much smaller than others."""

from collections.abc import Iterator

from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.files.numbers import counted
from pipeline.photos import manifest

SMALL, IMBALANCE = "small_class", "imbalance"
_MAX_RATIO = 10  # of the largest class to another


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield classes with few photos, and classes much smaller than the largest."""
    # Some photos turn out to be unusable only when they are decoded.
    usable = context.photos["label"].value_counts()
    usable = usable.reindex(sorted(context.listed["label"].unique()), fill_value=0)
    largest = int(usable.max())
    for label, count in usable.items():
        if count < manifest.FEW_PHOTOS:
            number = counted(count, "photo")
            detail = f"{number}; with fewer than {manifest.FEW_PHOTOS}, accuracy may suffer"
            yield Finding(SMALL, detail, label=str(label), score=-float(count))
        if count * _MAX_RATIO < largest:
            detail = f"{counted(count, 'photo')}; {usable.idxmax()} has {largest:,}"
            yield Finding(IMBALANCE, detail, label=str(label), score=-float(count))
