"""Invalid files and settings: readers accept or reject them, and nothing else happens.

FUZZ is the number of examples for each reader; `make torture` tries many more than `make test`.
"""

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from luigi.configuration import get_config

from pipeline.errors import UserError
from pipeline.files import archive
from pipeline.files.damage import UNREADABLE
from pipeline.head.settings import Settings, Sgd, parse_class_weights
from pipeline.nightly.promotion_gate import Gate
from pipeline.photos import manifest
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import Summary
from pipeline.photos.split import SplitRule
from pipeline.pixels.augmentation import Augmentation
from tasks import configuration

FEW, MANY = 40, int(os.environ.get("FUZZ", "3000"))
LENGTHS = pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.torture)])


def fuzz(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Test a number of examples; one that takes longer than ten seconds fails."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    limits = settings(
        max_examples=examples, deadline=10_000, database=None, suppress_health_check=checks
    )
    limits(given(strategy)(check))()


Change = tuple[int, int, bytes]
CHANGES = st.lists(
    st.tuples(st.integers(0, 4096), st.integers(0, 16), st.binary(max_size=16)),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, changes: list[Change]) -> bytes:
    """Replace some bytes by the same number of bytes, by fewer or by more."""
    for place, length, piece in changes:
        start = place % len(data) if data else 0
        data = data[:start] + piece + data[start + length :]
    return data


@pytest.fixture
def table(photo_dir: Path, tmp_path: Path) -> Path:
    path = tmp_path / "manifests" / "m.parquet"
    listing = list_photos(photo_dir)
    manifest.write(manifest.build(listing, photo_dir, SplitRule()), path)
    return path


@LENGTHS
def test_manifests(table: Path, photo_dir: Path, examples: int) -> None:
    whole, rows = table.read_bytes(), manifest.read(table)

    def check(data: bytes) -> None:
        table.write_bytes(data)
        with suppress(*UNREADABLE):
            assert isinstance(manifest.read_summary(table), Summary)
        try:
            assert list(manifest.read(table)) == list(rows)
        except UserError as error:
            assert str(table) in str(error)
        found = manifest.newest(table.parent, photo_dir)
        assert found is None or list(found) == list(rows)

    fuzz(examples, CHANGES, lambda changes: check(damaged(whole, changes)))


ODD = (
    "..",
    "../x",
    "/x",
    "a/../../x",
    ".inner",
    ".inner/.inner",
    "a",
    "a/a",
    "a/",
    ".",
    "",
    "x\0y",
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(ODD)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


def packed(members: list[tuple[str, bytes, int]], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, kind, permissions in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname = kind, permissions, "/etc/passwd"
            info.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"abc"))
    return file.getvalue()


@LENGTHS
def test_archives(tmp_path: Path, examples: int) -> None:
    (tmp_path / "here").mkdir()
    file, number = tmp_path / "here/x.tar", iter(range(10**9))

    def check(data: bytes) -> None:
        file.write_bytes(data)
        directory = tmp_path / "here" / str(next(number))
        try:
            archive.unpack(file, directory)
        except UserError as error:
            assert str(file) in str(error)
        inside = [path.lstat().st_mode for path in directory.rglob("*")]
        shutil.rmtree(directory)
        assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in inside)
        assert not any(mode & 0o6022 for mode in inside)  # writable by others, or setuid
        assert [path.name for path in tmp_path.rglob("*")] == ["here", file.name]

    members = st.lists(st.tuples(NAMES, KINDS, st.integers(0, 0o7777)), max_size=4)
    modes = st.sampled_from(["w", "w:gz", "w:bz2"])
    fuzz(examples, st.tuples(members, modes), lambda made: check(packed(*made)))
    sound = [("top/a", tarfile.REGTYPE, 0o644), ("top/b/c", tarfile.REGTYPE, 0o600)]
    tar, gz = packed(sound, "w"), packed(sound, "w:gz")
    fuzz(examples // 2, CHANGES, lambda changes: check(damaged(tar, changes)))
    fuzz(examples // 2, CHANGES, lambda changes: check(damaged(gz, changes)))


TEXTS = st.text(max_size=30) | st.floats().map(str) | st.integers().map(str)
TEXTS |= st.sampled_from(
    ["%", "%(x)s", "nan", "inf", "-0.0", "1e400", "1_0", "9" * 5000, "[" * 9999]
)


@LENGTHS
def test_settings(examples: int) -> None:
    takers: dict[str, tuple[Any, Callable[[Any], object]]] = {
        "percentage": (10.0, lambda value: SplitRule(value, 10)),
        "l2": (0.0, lambda value: Settings(l2=value)),
        "label_smoothing": (0.0, lambda value: Settings(label_smoothing=value)),
        "learning_rate": (0.01, lambda value: Sgd(learning_rate=value)),
        "train_batch_size": (100, lambda value: Sgd(train_batch_size=value)),
        "random_crop": (0, lambda value: Augmentation(1, random_crop=value)),
        "accuracy": (0.0, lambda value: Gate(value, 0)),
        "tolerance": (1.0, lambda value: Gate(0, value / 100)),
        "class_weights": ("", parse_class_weights),
        "flip_left_right": (False, bool),
    }

    def check(example: tuple[str, str]) -> None:
        name, text = example
        default, take = takers[name]
        get_config().read_string(f"[fuzzed]\n{name} = {' '.join(text.split())}\n")
        try:
            value = configuration.config_default("fuzzed", name, default)
            assert type(value) is type(default)
            take(value)
            assert isinstance(value, str) or abs(value) < float("inf")
        except UserError as error:
            assert str(error)

    try:
        fuzz(examples, st.tuples(st.sampled_from([*takers]), TEXTS), check)
    finally:
        get_config().remove_section("fuzzed")
        configuration._options.pop("fuzzed", None)
