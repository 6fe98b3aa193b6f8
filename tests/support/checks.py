"""Data sets for the data checks."""

from collections.abc import Callable

from pipeline.evaluation.data_checks.context import CheckContext

Maker = Callable[..., CheckContext]
