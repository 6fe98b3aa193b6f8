"""The environment of a command: encoding, proxies and luigi.cfg, prepared before Luigi is imported.

Luigi reads luigi.cfg as soon as it is imported, and ends with a traceback if it cannot.
"""

import codecs
import configparser
import locale
import os
import sys
from pathlib import Path

from pipeline.errors import UserError

# As in Luigi, which still reads the names that it used before.
_PLACES = ("/etc/luigi/client.cfg", "/etc/luigi/luigi.cfg", "client.cfg", "luigi.cfg")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def prepare() -> None:
    """Check the encoding and luigi.cfg, and make all requests to this machine without a proxy.

    Raises:
        UserError: on Windows, if file names and texts are not UTF-8, or if a luigi.cfg cannot
            be read.
    """
    if os.name == "nt":
        raise UserError("this pipeline needs Linux or macOS; on Windows, run it in WSL")
    _check_encoding()
    for path in luigi_cfgs():
        _check_luigi_cfg(path)
    _bypass_proxies()


def luigi_cfgs() -> list[Path]:
    """Return the absolute paths of the files that Luigi reads; later ones take precedence.

    Raises:
        UserError: if LUIGI_CONFIG_PATH names none.
    """
    paths = [path.absolute() for path in map(Path, _PLACES) if path.exists()]
    named = os.environ.get("LUIGI_CONFIG_PATH")
    if named is not None:
        if not Path(named).is_file():
            raise UserError(
                f"LUIGI_CONFIG_PATH: there is no file {named!r}; correct the variable or unset it"
            )
        paths.append(Path(named).absolute())
    return paths


def _check_encoding() -> None:
    for encoding in (sys.getfilesystemencoding(), locale.getpreferredencoding(False)):
        if codecs.lookup(encoding).name != "utf-8":
            raise UserError(
                f"the locale's encoding is {encoding}, in which names of photos and labels would "
                "differ from those on other machines; set the environment variable PYTHONUTF8=1"
            )


def _check_luigi_cfg(path: Path) -> None:
    """Read a luigi.cfg as Luigi does, and discard its content."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise UserError(
                f"{path} starts with a byte-order mark, which Luigi cannot read; save it as UTF-8 "
                "without a byte-order mark"
            )
        parser.read_string(text, str(path))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; make it a readable file, or remove it"
        ) from None
    except configparser.Error as error:
        raise UserError(f"{path}, {_reason(error)}") from None


def _reason(error: configparser.Error) -> str:
    """Return the line, the problem and the remedy of a syntax error."""
    if isinstance(error, configparser.DuplicateSectionError):
        return (
            f"line {error.lineno}: there is a section [{error.section}] above; move these options "
            "to it"
        )
    if isinstance(error, configparser.DuplicateOptionError):
        return (
            f"line {error.lineno}: [{error.section}] sets {error.option} above, too; remove one of "
            "the two lines"
        )
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: not in a section; write one above it, such as [data]"
    if isinstance(error, configparser.ParsingError):
        return f"line {error.errors[0][0]}: neither an option nor a section; write name = value"
    return str(error)


def _bypass_proxies() -> None:
    """Exempt this machine from the proxies that environment variables name.

    Without such variables, nothing is set: on macOS, no_proxy alone would hide the proxies in the
    system's settings.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if exempt.strip() != "*":
        hosts = [host for host in (*exempt.split(","), *_LOOPBACK) if host.strip()]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(hosts))
