"""Names of modules: all Keras applications, and the name that a mistyped one may mean."""

import inspect
import re

from pipeline.files import naming
from pipeline.modules import efficientnet_lite, keras_export

_KERAS = re.compile(r"^\s*(tf\.)?keras[:./]+(applications[:./]+)?", re.IGNORECASE)
_HUBS = ("tfhub.dev/", "kaggle.com/", "www.kaggle.com/")
_ON_KAGGLE = re.compile(r"[\w.-]+/[\w.-]+/tensorFlow[12]/[\w.-]+(/\d+)?", re.IGNORECASE)
_SIMILARITY = 0.75  # from 0 to 1


def applications() -> list[str]:
    """Return the names of all Keras applications."""
    functions = vars(keras_export.import_keras().applications)
    return sorted(name for name, item in functions.items() if inspect.isfunction(item))


def nearest(handle: str) -> str:
    """Return the handle that a user may have meant by an unknown one, or "".

    Upper case, punctuation and the way of writing `keras:` do not count. What follows an `@` is
    kept. After `keras:`, only applications resemble a name that is not exactly that of a built-in
    module. Paths and names of files, which contain a slash or a dot, resemble no module.
    """
    if handle.startswith(_HUBS):
        return f"https://{handle}"
    if _ON_KAGGLE.fullmatch(handle):  # as Kaggle's pages and kagglehub name a model
        return f"https://www.kaggle.com/models/{handle}"
    typed, at, weights = _KERAS.sub("", handle).partition("@")
    letters = _letters(typed)
    if len(letters) < 3 or re.search(r"[/.\\]", typed):
        return ""
    built_in = {_letters(name): name for name in efficientnet_lite.VARIANTS}
    known = {_letters(name): f"keras:{name}{at}{weights}" for name in applications()}
    if letters in built_in:
        return built_in[letters]
    if letters in known:
        return known[letters]
    if not _KERAS.match(handle):
        known = built_in | known
    longer = [name for name in known if name.startswith(letters)]
    close = longer[0] if longer else naming.nearest(letters, known, _SIMILARITY)
    return known.get(close, "")


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())
