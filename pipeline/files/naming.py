"""Names of results: digests of everything that made them, and readable slugs."""

import hashlib
import json
import re

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
