"""Limits on open files and memory: one line, nothing lost, and the rerun completes."""

import resource
from pathlib import Path

import pytest

from tests.support.processes import Pipeline, results, table, temporaries

ABORTED = -6  # TensorFlow aborts without enough memory or threads
REFUSED = (30, 40)  # in a step, or before the first one
GB = 10**9


def attempt(pipeline: Pipeline, out: Path, kind: int, limit: int) -> str:
    """Run with a limit, then without it; return how the first run ended."""
    tried = pipeline.run(out, before=lambda: resource.setrlimit(kind, (limit, limit)))
    assert tried.returncode in (0, *REFUSED, ABORTED), tried.stderr
    if tried.returncode in REFUSED:
        assert "Traceback" not in tried.stderr, tried.stderr
        assert "run again: finished work is kept" in tried.stderr
    again = pipeline.run(out)
    assert again.returncode == 0, again.stderr
    assert temporaries(out) == []
    output = {code: f"one line, exit code {code}" for code in REFUSED} | {0: "completes"}
    return output.get(tried.returncode, "aborted")


@pytest.mark.slow
def test_too_little_memory_for_tensorflow_is_said_in_a_line(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    ended = attempt(pipeline, tmp_path / "out", resource.RLIMIT_AS, 5 * GB // 2)
    assert ended == "one line, exit code 30"


@pytest.mark.torture
def test_limits_of_all_sizes(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.run(tmp_path / "undisturbed").returncode == 0
    limits = [("open files", resource.RLIMIT_NOFILE, n, str(n)) for n in (8, 12, 16, 64, 256)]
    limits += [
        ("address space", resource.RLIMIT_AS, tenths * GB // 10, f"{tenths / 10} GB")
        for tenths in (10, 15, 20, 25, 30, 35, 38, 40, 42, 45, 50, 60)
    ]
    rows = list[tuple[object, ...]]()
    for number, (what, kind, limit, shown) in enumerate(limits):
        out = tmp_path / f"out {number}"
        rows.append((what, shown, attempt(pipeline, out, kind, limit)))
        assert results(out) == results(tmp_path / "undisturbed")
    assert ("open files", "256", "completes") in rows
    table("Limits; each rerun without them ended as undisturbed", ("limit", "of", "the run"), rows)
