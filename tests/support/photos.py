"""Photos that tests make."""

from collections.abc import Callable
from pathlib import Path

PhotoMaker = Callable[..., Path]


def spoil(photo: Path) -> None:
    """Damage a PNG such that only the decoder notices."""
    data = bytearray(photo.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 0xFF
    photo.write_bytes(data)
