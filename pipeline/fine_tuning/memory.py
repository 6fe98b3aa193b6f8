"""Memory: which batch size fits, so that the system does not kill a training for its size."""

import resource
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.modules import frozen_graph
from pipeline.modules.loading import Module

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def refuse_too_large(module: Module, batch_size: int) -> None:
    """Check that the activations of a batch fit into memory.

    This is careful: a step frees some of them early. In bfloat16, efficientnet-lite0 took about
    0.6 times as much.

    Raises:
        UserError: if they do not, with a size that does.
    """
    each = activation_bytes(module)
    free = available_bytes()
    if not each or free is None or batch_size * each <= free:
        return
    raise UserError(
        f"a batch of {batch_size} photos takes up to {batch_size * each / 1e9:.1f} GB of memory, "
        f"and {free / 1e9:.1f} GB are available; set fine_tune_batch_size to at most "
        f"{max(1, free // each)}"
    )


def activation_bytes(module: Module) -> int:
    """Return the size of all intermediate results for one photo; 0 if it is unknown."""
    import tensorflow as tf

    call = frozen_graph.read(module)
    if call is None:
        return 0
    with tf.Graph().as_default() as graph:
        call(tf.zeros([1, module.height, module.width, 3]))
    sizes = [
        output.dtype.size * int(np.prod(output.shape))
        for operation in graph.get_operations()
        for output in operation.outputs
        if operation.type != "Const" and output.shape.is_fully_defined()
    ]
    return sum(sizes)


def available_bytes() -> int | None:
    """Return how much memory this process may still take; None if the system does not say."""
    limits = []
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        limits.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError):  # unlimited: the text "max"
        limit, used = (
            int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        limits.append(limit - used)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        if soft != resource.RLIM_INFINITY:
            limits.append(soft - pages * resource.getpagesize())
    return min(limits, default=None)
