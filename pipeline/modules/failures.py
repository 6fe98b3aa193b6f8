"""Failures: errors that a module raises while it is called, in words."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import UserError

REMEDY = "check image_range and image_size, or use another module"


def call(
    function: Callable[[Any], Any],
    images: Any,
    name: str,
    photos: Sequence[object] = (),
    remedy: str = REMEDY,
) -> Any:
    """Call a module, or a model that contains one, and explain the error that it may raise.

    Args:
        function: takes a batch.
        images: tensor [batch, ...].
        name: the option and the module or model, for the message.
        photos: paths of the first images. The message names one that fails.
        remedy: what to do, besides removing the photo.

    Raises:
        UserError: if the module raises an error. Errors about a lack of memory are passed on.
    """
    import tensorflow as tf

    def fails(number: int) -> bool:
        try:
            function(tf.repeat(images[number : number + 1], len(images), 0))
        except (tf.errors.OpError, ValueError, TypeError):
            return True
        return False

    try:
        return function(images)
    except tf.errors.ResourceExhaustedError:
        raise
    except (tf.errors.OpError, ValueError, TypeError) as error:
        failing = next((photo for number, photo in enumerate(photos) if fails(number)), None)
        where, remove = (f" for {failing}", "remove the photo, ") if failing else ("", "")
        raise UserError(
            f"{name} raises an error{where}: {reason(error)}; {remove}{remedy}"
        ) from None


def reason(error: Exception) -> str:
    """Return the line of an exception that says what is wrong, at most 200 characters.

    TensorFlow's message may follow, and precede, where in the graph the operation is.
    """
    text = re.sub(r"\{\{function_node.*?\}\}\s*|\s*\[Op:\w*\]", "", str(error))
    lines = text.partition("\n\t [[")[0].strip().splitlines() or [type(error).__name__]
    is_located = lines[0].startswith("Graph execution error")
    return lines[-1 if is_located else 0][:200]
