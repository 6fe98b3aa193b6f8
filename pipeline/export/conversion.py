"""Conversions to other formats that fail: the reason and the remedy."""

import re

from pipeline.errors import UserError, reraise_exhausted
from pipeline.modules import failures

# How TensorFlow Lite's converter and ONNX Runtime name an operation that they lack.
_LACKING = re.compile(r"'tf\.(\w+)' op is neither|No Op registered for (\w+)")

# ONNX Runtime's, with the temporary path of the file.
_PREFIX = re.compile(r"^\[ONNXRuntimeError\].*? failed:(This is an invalid model\. )?")


def refusal(option: str, error: Exception) -> UserError:
    """Return the error for a file that cannot be converted or loaded.

    Args:
        option: the option that asks for the file.
        error: the converter's or the runtime's exception. Errors about a lack of memory are raised.
    """
    reraise_exhausted(error)
    lacking = sorted({first or second for first, second in _LACKING.findall(str(error))})
    described = _PREFIX.sub("", str(error))
    reason = failures.reason(RuntimeError(described)).rstrip(".")
    if lacking:
        reason = (
            f"the format lacks operations of the module, or their data type: {', '.join(lacking)}"
        )
    return UserError(
        f"{option}: the model cannot be converted ({reason}); leave out --{option}, or use another "
        "module. One that computes in float16 or bfloat16 must be saved in float32. Everything up "
        "to the export is kept"
    )
