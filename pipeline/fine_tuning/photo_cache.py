"""The photo cache: decoded photos, so that they are not decoded again in each epoch."""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files.places import Place
from pipeline.photos import sources
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec
from pipeline.progress import Progress, silent

_CHUNK = 64  # photos that are read before they are decoded
_FREE = 0.5  # share of the free disk space that the cache may take


class PhotoCache:
    """Photos at one size, decoded once as far as a budget allows.

    They are in a file without a name, which the system keeps in memory while there is room, and
    removes when the process ends, however it ends.

    Args:
        paths: the photos.
        digests: SHA-256 of each in hex.
        spec: how they are decoded.
        size: height and width.
        folder: local folder with room for the file.
        budget: size of the file in bytes. Photos beyond it are decoded each time.
    """

    def __init__(
        self,
        paths: Sequence[Place],
        digests: Sequence[str],
        spec: InputSpec,
        size: tuple[int, int],
        folder: Path,
        budget: int,
    ) -> None:
        self._paths, self._digests = paths, digests
        self._decode = _decoder(spec, size)
        shape = (*size, 3)
        free = os.statvfs(folder)
        room = min(budget, int(_FREE * free.f_bavail * free.f_frsize))
        self.cached = min(len(paths), room // int(np.prod(shape)))
        self._pixels = np.empty((0, *shape), np.uint8)
        if self.cached:
            with tempfile.TemporaryFile(dir=folder) as file:
                nbytes = self.cached * int(np.prod(shape))
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, nbytes)
                else:  # macOS: a disk that fills up is noticed only later
                    file.truncate(nbytes)
                self._pixels = np.memmap(file, np.uint8, "r+", shape=(self.cached, *shape))

    def fill(self, progress: Progress = silent) -> None:
        """Decode the photos.

        Raises:
            UserError: if a photo is missing or changed.
        """
        for start in range(0, self.cached, _CHUNK):
            stop = min(start + _CHUNK, self.cached)
            self._pixels[start:stop] = self._decoded(range(start, stop))
            progress(stop, self.cached, "photos decoded")

    def read(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return photos, uint8 [height, width, 3] each.

        Raises:
            UserError: as `fill`.
        """
        missing = [int(i) for i in indices if i >= self.cached]
        decoded = dict(zip(missing, self._decoded(missing), strict=True))
        return [decoded[i] if i in decoded else self._pixels[i] for i in map(int, indices)]

    def _decoded(self, indices: Sequence[int]) -> list[np.ndarray]:
        def checked(content: bytes | UserError) -> np.ndarray:
            if isinstance(content, UserError):
                raise content
            pixels: np.ndarray = self._decode(content).numpy()
            return pixels

        paths = [self._paths[i] for i in indices]
        digests = [self._digests[i] for i in indices]
        contents = list(sources.stream(paths, digests)) if paths else []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(threads.map(checked, contents))


def _decoder(spec: InputSpec, size: tuple[int, int]) -> Callable[[bytes], Any]:
    """Return a function from the bytes of a photo to uint8 [height, width, 3]."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode(encoded: Any) -> Any:
        photo = decoding.decode(encoded, spec, tf.constant(size))
        return tf.cast(tf.round(photo * 255), tf.uint8)

    return decode  # type: ignore[no-any-return]
