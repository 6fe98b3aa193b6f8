"""Kaggle Models, to which the modules of tfhub.dev moved in November 2023.

A handle of tfhub.dev redirects to the model's page. An archive comes from the page's address, by
TensorFlow Hub's protocol, or from Kaggle's API; models whose conditions somebody must accept come
from the kagglehub library, which logs in. See https://github.com/Kaggle/kagglehub.
"""

import re
import shutil
from pathlib import Path

import requests

from pipeline.errors import UserError
from pipeline.modules import failures

_KAGGLE, _TFHUB = "https://www.kaggle.com/", "https://tfhub.dev/"
_WORDS = ("frameworks", "variations", "versions", "download")  # in older addresses
_VERSIONED = 5  # owner, model, framework, variation, version
_TIMEOUT = (10, 60)  # seconds to connect, and to wait for data


def model(handle: str) -> str:
    """Return the model that an address stands for, as kagglehub names it, or "".

    A handle of tfhub.dev is looked up there.
    """
    if handle.startswith(_TFHUB):
        try:
            with requests.get(handle, stream=True, timeout=_TIMEOUT) as response:
                handle = response.url
        except requests.RequestException:
            return ""
    handle = handle.replace("://kaggle.com/", "://www.kaggle.com/")
    page = re.match(rf"{re.escape(_KAGGLE)}(?:api/v1/)?models/([^?#]+)", handle)
    parts = [part for part in page[1].split("/") if part and part not in _WORDS] if page else []
    return "/".join(parts) if len(parts) in (_VERSIONED - 1, _VERSIONED) else ""


def archive_url(name: str) -> str:
    """Return the address of a model's .tar.gz in Kaggle's API, which needs a version, or ""."""
    versioned = name.count("/") == _VERSIONED - 1
    return f"{_KAGGLE}api/v1/models/{name}/download" if versioned else ""


def download(name: str, directory: Path) -> None:
    """Download a model by kagglehub to a folder, which must not exist.

    Raises:
        UserError: if kagglehub is not installed, or the download fails.
    """
    try:
        import kagglehub
    except ImportError:
        raise UserError(
            "kagglehub, which logs in, is not installed (pip install kagglehub)"
        ) from None
    try:
        shutil.copytree(kagglehub.model_download(name), directory)
    except Exception as error:  # the library raises many kinds
        raise UserError(
            f"kagglehub cannot download {name}: {failures.reason(error)}; accept the model's "
            "conditions in a browser, and log in with python -c 'import kagglehub; "
            "kagglehub.login()'"
        ) from None
