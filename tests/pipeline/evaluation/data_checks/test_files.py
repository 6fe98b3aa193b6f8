"""Files: each kind of fault is named, and what is sound is not."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.evaluation.data_checks import files
from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.photos import manifest
from pipeline.photos.inspection import Problem
from tests.support.checks import Maker


def with_rows(make: Maker, **changes: list[object]) -> CheckContext:
    """Four photos of which some columns of the manifest are others."""
    subject = make(np.eye(4, 8), ["a"] * 4)
    return replace(subject, listed=subject.listed.assign(**changes))


def found(subject: CheckContext) -> list[tuple[str, str]]:
    return [(f.kind, f.paths[0]) for f in files.find(subject)]


def test_sound_files_have_no_fault(make_subject: Maker) -> None:
    assert found(with_rows(make_subject)) == []


def test_what_was_set_aside_is_named_with_its_reason(make_subject: Maker) -> None:
    status = ["ok", "truncated JPEG", "TIFF is not supported; convert it", manifest.UNLISTED]
    problem = [Problem.NONE, Problem.TRUNCATED, Problem.UNSUPPORTED, Problem.UNLISTED]
    subject = with_rows(make_subject, status=status, problem=problem)
    assert found(subject) == [("unreadable", "a/1.png"), ("format", "a/2.png")]


def test_what_the_decoder_refused_is_unreadable(make_subject: Maker) -> None:
    subject = make_subject(np.eye(4, 8), ["a"] * 4)
    fewer = replace(subject, photos=subject.photos.iloc[:3])
    assert found(fewer) == [("unreadable", "a/3.png")]


def test_a_name_that_does_not_tell_the_format_is_named(make_subject: Maker) -> None:
    subject = with_rows(make_subject, format=["PNG", "JPEG", "PNG", "PNG"])
    assert found(subject) == [("format", "a/1.png")]


def test_tiny_photos_are_named(make_subject: Maker) -> None:
    subject = with_rows(make_subject, width=[64, 15, 16, 64], height=[64, 64, 16, 3])
    assert found(subject) == [("tiny", "a/1.png"), ("tiny", "a/3.png")]


def test_grey_photos_are_named_where_most_have_colour(make_subject: Maker) -> None:
    subject = with_rows(make_subject, grey=[False, False, True, False])
    assert found(subject) == [("greyscale", "a/2.png")]
    assert found(with_rows(make_subject, grey=[True, True, True, False])) == []


def test_the_listing_is_left_as_it_was(make_subject: Maker) -> None:
    subject = with_rows(make_subject)
    before = subject.listed.copy()
    list(files.find(subject))
    pd.testing.assert_frame_equal(subject.listed, before)


def test_photos_of_one_color_are_named(make_subject: Maker) -> None:
    subject = make_subject(np.eye(3, 8), ["a", "a", "b"])
    blank = replace(subject, uniform=frozenset([subject.photos["digest"][1]]))
    (finding,) = files.find(blank)
    assert (finding.kind, finding.paths) == ("uniform", ("a/1.png",))
