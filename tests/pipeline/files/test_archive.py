"""Archives: what is in them, and what they would do if they were let."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import archive

Packer = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path) -> Packer:
    """Write an archive of files by name, and of other members."""

    def to_file(
        files: dict[str, bytes], *others: tarfile.TarInfo, mode: str = "w:gz", name: str = "x.tgz"
    ) -> Path:
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for info in others:
                tar.addfile(info)
        return tmp_path / name

    return to_file


def unpacked(file: Path) -> dict[str, bytes]:
    directory = file.parent / "unpacked"
    archive.unpack(file, directory)
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in sorted(paths)}


def refusal(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        unpacked(file)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives_compressed_or_not_are_unpacked(pack: Packer, mode: str) -> None:
    files = {"./a/b.txt": b"b", "./c.txt": b"c"}
    assert unpacked(pack(files, mode=mode)) == {"a/b.txt": b"b", "c.txt": b"c"}


def test_a_folder_that_holds_all_is_passed_over(pack: Packer) -> None:
    files = {"._top": b"macOS", "top/top/a.txt": b"a", "top/b.txt": b"b"}
    assert unpacked(pack(files)) == {"._top": b"macOS", "b.txt": b"b", "top/a.txt": b"a"}


@pytest.mark.parametrize("name", [".inner/.inner", "a/a/a"])
def test_what_is_in_that_folder_may_be_called_as_it_is(pack: Packer, name: str) -> None:
    assert unpacked(pack({name: b"a"})) == {name.split("/", 1)[1]: b"a"}


def test_a_name_with_a_nul_is_refused(pack: Packer) -> None:
    file = pack({"a\0\u00e9": b"a"})  # a PAX header keeps what follows it
    assert "cannot be unpacked: it is damaged" in refusal(file)


def test_two_folders_stay_two(pack: Packer) -> None:
    assert list(unpacked(pack({"a/1": b"", "b/1": b""}))) == ["a/1", "b/1"]


def test_progress_counts_megabytes(pack: Packer, tmp_path: Path) -> None:
    file = pack({"a": bytes(2_000_000), "b": bytes(2_000_000)}, mode="w")
    steps: list[tuple[int, int, str]] = []
    archive.unpack(file, tmp_path / "out", lambda *step: steps.append(step))
    assert [step[1:] for step in steps] == [(3, "MB unpacked")] * 2
    assert steps[-1][0] == 3


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/outside"])
def test_a_path_that_leaves_the_folder_is_refused_or_kept_inside(
    pack: Packer, tmp_path: Path, name: str
) -> None:
    file = pack({name: b"harm"})
    if name.startswith("/"):
        assert unpacked(file) == {"outside": b"harm"}
    else:
        assert f"{name!r} is outside its folder" in refusal(file)
    assert not (tmp_path / "outside").exists()
    assert not Path("/outside").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(pack: Packer, kind: bytes) -> None:
    info = tarfile.TarInfo("odd")
    info.type, info.linkname = kind, "a"
    assert "'odd', a link or device" in refusal(pack({"a": b""}, info))


def test_an_archive_that_breaks_off_is_refused(pack: Packer) -> None:
    for mode in ("w", "w:gz"):
        file = pack({"a": b"a" * 100_000}, mode=mode, name=f"{mode[-1]}.tar")
        file.write_bytes(file.read_bytes()[:-100] if mode == "w:gz" else file.read_bytes()[:50_000])
        with pytest.raises(UserError, match="cannot be unpacked"):
            archive.unpack(file, file.with_suffix(".out"))


def test_damage_is_noticed(pack: Packer) -> None:
    file = pack({"a": bytes(range(256)) * 1000})
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    assert "it is damaged or truncated; download it again" in refusal(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n<!doctype html><html>", "it is a web page, not an archive; check the address"),
        (b"plain text", "it is not a .tar or .tar.gz archive"),
        (b"", "it is not a .tar or .tar.gz archive"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x").write_bytes(content)
    assert f"{tmp_path}/x cannot be unpacked: {reason}" in refusal(tmp_path / "x")


def test_a_zip_file_is_named_as_such(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr("a", "a")
    assert "it is a zip file; unpack it first" in refusal(tmp_path / "x")
