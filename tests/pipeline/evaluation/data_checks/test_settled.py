"""Settled findings: those that people have decided about."""

import pandas as pd
import pytest

from pipeline.evaluation.data_checks import settled
from pipeline.photos.corrections import Correction

A, B = "a" * 64, "b" * 64
LISTED = pd.DataFrame({"path": ["1.jpg", "2.jpg"], "digest": [A, B]})


def is_open(kind: str, *lines: Correction) -> bool:
    paths = ["1.jpg", "2.jpg"] if kind in settled.GROUPS else ["1.jpg"]
    findings = pd.DataFrame({"kind": kind, "finding": 7, "path": paths})
    return not settled.open_findings(findings, LISTED, lines).empty


@pytest.mark.parametrize("kind", ["label", "outlier", "leak", "conflict"])
def test_without_corrections_findings_are_open(kind: str) -> None:
    assert is_open(kind)
    assert is_open(kind, Correction("c" * 64, "1.jpg", "exclude"))


@pytest.mark.parametrize("line", [("exclude",), ("relabel", "kiwi"), ("keep",)])
def test_any_decision_about_its_photo_settles_a_finding(line: tuple[str, ...]) -> None:
    assert not is_open("label", Correction(A, "1.jpg", *line))


def test_a_pair_is_settled_if_one_is_left_or_both_are_kept() -> None:
    assert not is_open("leak", Correction(B, "2.jpg", "exclude"))
    assert is_open("leak", Correction(B, "2.jpg", "keep"))
    assert not is_open("leak", Correction(A, "1.jpg", "keep"), Correction(B, "2.jpg", "keep"))
    relabels = [Correction(digest, "", "relabel", "kiwi") for digest in (A, B)]
    assert is_open("leak", *relabels)


def test_keeping_a_label_says_nothing_about_duplicates() -> None:
    kept = [Correction(digest, "", "keep", why="label") for digest in (A, B)]
    assert is_open("leak", *kept)
    assert not is_open("label", *kept)
    reason = [Correction(digest, "", "keep", why="I took them myself") for digest in (A, B)]
    assert not is_open("leak", *reason)


def test_findings_about_classes_stay_open() -> None:
    findings = pd.DataFrame({"kind": ["small_class"], "finding": [1], "path": [""]})
    line = Correction(A, "1.jpg", "exclude")
    assert len(settled.open_findings(findings, LISTED, [line])) == 1
