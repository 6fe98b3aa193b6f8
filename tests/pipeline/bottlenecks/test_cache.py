"""Where vectors are found, while several workers write and delete files."""

import hashlib
import io
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bottlenecks import cache, reader
from pipeline.bottlenecks.cache import DamagedError, VectorCache
from pipeline.errors import LostError
from tests.support.store import Store


def journal(store: Store, *digests: str) -> list[Path]:
    """A journal file for each digest, the vectors of which are its number."""
    directory = store.recipe.directory(store.path)
    for number, digest in enumerate(digests):
        made = np.full((1, 12), number, np.float16)
        one = (np.array([digest], object), np.zeros(1, np.int8), made)
        cache.write_journal([one], store.recipe, directory)
    return list(directory.glob("partial/*.parquet"))


def test_a_vector_is_found_by_its_digest(store: Store) -> None:
    files = journal(store, "a", "b")
    found = VectorCache.find(files, pd.Index(["b", "c", "a"]))
    have, matrix = found.take(found.needed.get_indexer(["a", "b", "c"]), store.recipe)
    assert have.tolist() == [True, True, False]
    assert matrix[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(("room", "readings"), [(2, 7), (5, 6), (8, 3)])
def test_a_file_is_read_once_for_all_pieces_that_fit(
    store: Store, monkeypatch: pytest.MonkeyPatch, room: int, readings: int
) -> None:
    files = journal(store, "a", "b", "c")
    found = VectorCache.find(files, pd.Index(["a", "b", "c", "lost"]))
    monkeypatch.setattr(cache, "GATHERED", room * 12 * 2)  # bytes: 12 float16 a vector
    read = cache._read_group
    done: list[Path] = []
    monkeypatch.setattr(
        cache, "_read_group", lambda path, number: done.append(path) or read(path, number)
    )
    pieces = [np.array(piece, np.int64) for piece in ([2, 0, 1], [], [3, 1], [1, 0, 2])]
    gathered = list(found.gather(pieces, store.recipe))
    assert [matrix[:, 0].tolist() for _, matrix in gathered] == [[2, 0, 1], [], [1], [1, 0, 2]]
    assert [have.tolist() for have, _ in gathered][2] == [False, True]
    assert len(done) == readings


def test_a_file_that_another_worker_took_away_is_no_damage(store: Store) -> None:
    files = journal(store, "a", "b")
    found = VectorCache.find(files, pd.Index(["a", "b"]))
    for path in files:
        path.unlink()
    with pytest.raises(DamagedError) as error:
        found.take(found.needed.get_indexer(["a"]), store.recipe)
    assert not cache.delete_damaged(error.value.path)
    again = VectorCache.find(files, pd.Index(["a"]))
    assert again.files == again.damaged == []


def test_a_damaged_journal_is_deleted_and_named(store: Store) -> None:
    one, two = journal(store, "a", "b")
    one.write_bytes(one.read_bytes()[:-20])
    found = VectorCache.find([one, two], pd.Index(["a", "b"]))
    assert found.damaged == [one]
    assert not one.exists()
    assert found.files == [two]


def test_a_journal_goes_when_all_of_its_vectors_stand_elsewhere(store: Store) -> None:
    journal(store, "a", "b")
    directory = store.recipe.directory(store.path)
    cache.clear_journal(directory, pd.Index(["a", "c"]))
    (left,) = directory.glob("partial/*.parquet")
    assert pd.read_parquet(left)["digest"].to_list() == ["b"]


def test_a_damaged_journal_that_nobody_needs_is_left(store: Store) -> None:
    (path,) = journal(store, "a")
    content = path.read_bytes()
    damaged = content[:20] + bytes(40) + content[60:]
    path.write_bytes(damaged)
    cache.clear_journal(path.parent.parent, pd.Index(["a"]))
    assert path.read_bytes() == damaged
    assert path.exists()


def test_damaged_reasons_are_named_and_forgotten(store: Store) -> None:
    directory = store.recipe.directory(store.path)
    directory.mkdir()
    cache.add_notes(directory, {"a": "truncated"})
    os.truncate(directory / "rejected.json", 10)
    with pytest.raises(LostError, match=r"deleted .*rejected\.json, which was damaged; run again"):
        cache.read_notes(directory)
    assert cache.read_notes(directory) == {}


def test_reasons_add_up(store: Store) -> None:
    directory = store.recipe.directory(store.path)
    directory.mkdir()
    cache.add_notes(directory, {"a": "truncated"})
    cache.add_notes(directory, {"b": "no photo"})
    assert cache.read_notes(directory) == {"a": "truncated", "b": "no photo"}
    assert [path.name for path in directory.iterdir()] == ["rejected.json"]


@pytest.mark.parametrize(
    "look",
    [
        cache.has_footer,
        lambda path: VectorCache.find([path], pd.Index(["a"])),
        lambda path: cache._read_group(path, 0),
        lambda path: reader._delete_damaged([path]),
    ],
)
def test_a_file_that_the_machine_cannot_open_now_is_kept(
    tmp_path: Path, look: Callable[[Path], object]
) -> None:
    path = tmp_path / "class/part.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"digest": ["a"], "variant": [0]}), path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            look(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert path.exists()


class CountingFile(io.FileIO):
    """A file that knows how much of it was read."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        content = super().read(-1 if size is None else size)
        self.bytes_read += len(content)
        return content


def test_digests_are_read_out_of_the_file_and_not_the_vectors(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(3000, 1280)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 1280)
    digests = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(3000)]
    table = pa.table({"digest": digests, "variant": pa.array([0] * 3000, pa.int8()), "v": column})
    table = table.replace_schema_metadata({"retrain": json.dumps({"augmentation": ""})})
    path = tmp_path / "part.parquet"
    pq.write_table(table, path, row_group_size=1024, compression="zstd")
    with CountingFile(path) as file:
        assert cache.read_keys(file).tolist() == digests
        assert file.bytes_read < path.stat().st_size / 20
