"""Names of modules: all Keras applications, and the name that a mistyped one may mean."""

import inspect
import re

from pipeline.files import naming
from pipeline.modules import efficientnet_lite, keras_export

_KERAS = re.compile(r"^\s*(tf\.)?keras[:./]+(applications[:./]+)?", re.IGNORECASE)
_HUBS = ("tfhub.dev/", "kaggle.com/", "www.kaggle.com/")
_SIMILARITY = 0.75  # from 0 to 1


def applications() -> list[str]:
    """Return the names of all Keras applications."""
    functions = vars(keras_export.import_keras().applications)
    return sorted(name for name, item in functions.items() if inspect.isfunction(item))


def nearest(handle: str) -> str:
    """Return the handle that a user may have meant by an unknown one, or "".

    Upper case, punctuation and the way of writing `keras:` do not count. What follows an `@` is
    kept. Paths and names of files, which contain a slash or a dot, resemble no module.
    """
    if handle.startswith(_HUBS):
        return f"https://{handle}"
    typed, at, weights = _KERAS.sub("", handle).partition("@")
    letters = _letters(typed)
    if len(letters) < 3 or re.search(r"[/.\\]", typed):
        return ""
    known = {_letters(name): name for name in efficientnet_lite.VARIANTS}
    known |= {_letters(name): f"keras:{name}{at}{weights}" for name in applications()}
    if letters in known:
        return known[letters]
    longer = [name for name in known if name.startswith(letters)]
    close = longer[0] if longer else naming.nearest(letters, known, _SIMILARITY)
    return known.get(close, "")


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
