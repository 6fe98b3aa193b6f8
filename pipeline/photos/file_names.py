"""File names: what a name says about a file before it is opened."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase, translate

_PHOTO_SUFFIXES = "jpg jpeg jpe jfif png gif bmp webp tif tiff avif heic heif svg jxl"
_PHOTOS = frozenset(_PHOTO_SUFFIXES.split())
_OTHER_SUFFIXES = """
    txt md rst rtf log pdf doc docx odt ods odp xls xlsx ppt pptx html htm xhtml mhtml xml xsd
    json jsonl ndjson geojson csv tsv yaml yml toml ini cfg conf properties url webloc lnk
    db sqlite sqlite3 mdb parquet feather arrow npy npz mat h5 hdf5 pkl pickle pt pth ckpt onnx
    pb tflite tfrecord tfrecords lmdb zip gz tgz bz2 xz zst 7z rar iso dmg exe dll msi apk
    cls lst xmp aae thm sha1 sha256 md5 sfv par2 py pyc ipynb js ts css sh bat ps1 cpp java
    mp4 mov avi mkv webm wmv flv m4v mpg mpeg 3gp mts m2ts mp3 wav m4a aac flac ogg oga wma srt
    ttf otf woff woff2
"""
_OTHERS = frozenset(_OTHER_SUFFIXES.split())

# Files and folders of operating systems, NAS systems, cloud drives and other programs, as patterns
# of lower-case names. Other names with a leading dot belong to programs as well.
_LEFTOVERS = (
    *("._*", "thumbs.db", "thumbs.db:encryptable", "ehthumbs*.db", "desktop.ini", "icon\r"),
    *("$recycle.bin", "system volume information", "found.[0-9][0-9][0-9]"),
    *("__macosx", "lost+found", "network trash folder", "temporary items"),
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "#recycle", "#snapshot"),
    *("~snapshot", "~$*", "*~", "*.tmp", "picasa.ini", "zbthumbnail.info"),
    *("*.crdownload", "*.part", "*.partial", "*.download", "*.opdownload", "*.aria2", "*.!ut"),
    *("*.icloud", ".*"),
)
_LEFTOVER = re.compile("|".join(map(translate, _LEFTOVERS)))
_ICLOUD = re.compile(r"\.(?P<photo>.+)\.icloud", re.IGNORECASE)


class Kind(Enum):
    """What a name says about a file."""

    PHOTO = auto()  # it has the suffix of an image format
    UNKNOWN = auto()  # the content decides
    OTHER = auto()  # it has the suffix of something else
    LEFTOVER = auto()  # an operating system or another program has left it behind
    PLACEHOLDER = auto()  # iCloud has the photo, and this machine does not


def kind(name: str) -> Kind:
    """Return what the name of a file, without folders, says about it."""
    suffix = suffix_of(name)[1:]
    if suffix in _PHOTOS and not name.startswith((".", "~$")):
        return Kind.PHOTO
    placeholder = _ICLOUD.fullmatch(name)
    if placeholder and kind(placeholder["photo"]) is Kind.PHOTO:
        return Kind.PLACEHOLDER
    if leftover(name):
        return Kind.LEFTOVER
    return Kind.OTHER if suffix in _OTHERS else Kind.UNKNOWN


def leftover(name: str) -> str:
    """Return how to call a file or folder that belongs to another program; empty for others.

    Files that have names of their own, such as `._1.jpg`, are called by their pattern.
    """
    lower = name.lower()
    if not _LEFTOVER.match(lower):
        return ""
    pattern = next(p for p in _LEFTOVERS if fnmatchcase(lower, p))
    return pattern if "*" in pattern and pattern != ".*" else name


def composed(text: str) -> str:
    """Return a name with composed accents, as in NFC: macOS may store the same name decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def without_photo_suffix(path: str) -> str:
    """Return a path without the suffix of an image format; `shot00.2` has none."""
    suffix = suffix_of(name_of(path))
    return path[: -len(suffix)] if suffix[1:] in _PHOTOS else path


def name_of(path: str) -> str:
    """Return the name of a file, without folders."""
    return path.rpartition("/")[2]


def printable(text: str) -> str:
    """Return a path as one line of a log, whatever characters it contains.

    Spaces of all kinds are unchanged: macOS puts a narrow one into the names of screenshots.
    """

    def is_shown(character: str) -> bool:
        return character.isprintable() or unicodedata.category(character) == "Zs"

    return "".join(c if is_shown(c) else repr(c)[1:-1] for c in text)


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case, with its dot; empty if there is none."""
    stem, dot, suffix = name.rpartition(".")
    return (dot + suffix).lower() if stem and suffix else ""


def names_photo(name: str) -> bool:
    """Return whether a name contains the suffix of an image format, as in `1.jpg.1`."""
    return not leftover(name) and not _PHOTOS.isdisjoint(re.split(r"[\W_]+", name.lower())[1:])


@dataclass
class Skipped:
    """The files that a listing leaves out, by name and by suffix.

    Attributes:
        leftovers: number of files and folders of other programs, by what they are called.
        suffixes: number of files that are not photos, by suffix.
    """

    leftovers: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)

    def is_skipped(self, name: str) -> bool:
        """Return whether the name of a file says that it is no photo, and count it if so."""
        found = kind(name)
        if found is Kind.LEFTOVER:
            self.leftovers[leftover(name)] += 1
        elif found is Kind.OTHER:
            self.suffixes[suffix_of(name)] += 1
        return found in (Kind.LEFTOVER, Kind.OTHER)
