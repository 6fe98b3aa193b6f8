"""Names: the known one that a mistyped one may mean."""

import pytest

from pipeline.files import naming


@pytest.mark.parametrize(
    ("name", "similarity", "meant"),
    [("kiwis", 0.6, "Kiwi"), ("KIWI", 1, "Kiwi"), ("kiwis", 0.95, ""), ("bread", 0.6, "")],
)
def test_the_nearest_name_may_differ_in_case(name: str, similarity: float, meant: str) -> None:
    assert naming.nearest(name, ["Kiwi", "lime"], similarity) == meant
