"""Names: of results, readable ones of files, and the one that a mistyped one may mean."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable

DIGEST_LENGTH = 12  # hex digits shown in a path: 48 bits, enough for any number of runs


def digest(*parts: object) -> str:
    """Return a digest of everything that makes a result, for its path.

    Args:
        parts: JSON-serializable values; their order matters.

    Returns:
        The first 12 hex digits of the SHA-256 of their canonical JSON.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def slug(text: str) -> str:
    """Return a readable file name for any text. It is not unique: combine it with a digest."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-")[:40] or "other"


def nearest(name: str, known: Iterable[str], similarity: float = 0.6) -> str:
    """Return the known name that is most similar to another one, or "" if none is similar.

    Args:
        name: the other name; upper case does not count.
        known: the known names.
        similarity: the least one that counts, from 0 to 1, as difflib measures it.
    """
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, 1, similarity)
    return by_lower[close[0]] if close else ""
