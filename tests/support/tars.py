"""Tar files with photos."""

import io
import tarfile
from pathlib import Path


def pack(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Return a tar file with files, in order, followed by members without content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", errors="surrogateescape") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return content.getvalue()


def pack_folder(folder: Path, target: Path, shards: int = 1) -> Path:
    """Pack all files of a folder into tar files, `0.tar` and so on, in the folder `target`."""
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    target.mkdir(parents=True, exist_ok=True)
    each = -(-len(files) // shards)
    for number in range(shards):
        some = list(files.items())[number * each : (number + 1) * each]
        shard = pack({name: path.read_bytes() for name, path in some})
        (target / f"{number}.tar").write_bytes(shard)
    return target
