"""Commands for make, quoted for the shell."""

import shlex
from collections.abc import Mapping


def command(target: str, *words: str, options: Mapping[str, object]) -> str:
    """Return a make command.

    Args:
        target: of the Makefile.
        words: variables, such as `IMAGE_DIR=photos`.
        options: values by name, for the variable OPTIONS.
    """
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items()]
    text = shlex.join(word for flag in flags for word in flag)
    return shlex.join(["make", target, *words, *([f"OPTIONS={text}"] if flags else [])])
