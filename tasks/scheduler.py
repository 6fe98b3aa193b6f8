"""The scheduler: whether the luigid that a command names answers, before any work."""

from typing import Any

import luigi.interface
from luigi.cmdline_parser import CmdlineParser
from luigi.rpc import RemoteScheduler, RPCError

from pipeline.errors import OutageError
from pipeline.files import network

EXIT_CODE = 40  # as if Luigi failed to reach it later
REMEDY = "start it with make luigid, or run without SCHEDULER"
_ATTEMPTS, _WAIT_S, _TIMEOUT_S = 5, 2, 10.0  # it may be starting at the same time


def require(arguments: list[str]) -> None:
    """Check that the scheduler answers, unless it is the local one.

    Luigi itself waits for it more than a minute, which is right only during a run.

    Raises:
        OutageError: if it does not.
    """
    with CmdlineParser.global_instance(arguments):
        core = luigi.interface.core()
    if core.local_scheduler:
        return
    url = core.scheduler_url or f"http://{core.scheduler_host}:{core.scheduler_port}"
    scheduler: Any = RemoteScheduler(url, _TIMEOUT_S)
    scheduler._rpc_retry_attempts, scheduler._rpc_retry_wait = _ATTEMPTS, _WAIT_S
    scheduler._rpc_log_retries = False
    try:
        scheduler.is_pause_enabled()
    except (RPCError, ValueError) as error:  # or what answers is no scheduler
        place = url.rpartition("@")[2]  # without a password
        raise OutageError(
            f"the scheduler at {place} does not answer; {network.reason(error) or REMEDY}"
        ) from None
