"""One of several workers, on one or more machines, that share the folders and a luigid.

    python -m tasks.worker ExportModel --image-dir photos --scheduler-url http://127.0.0.1:8082

The worker takes work as it becomes available and exits when the task is complete; the luigi command
would exit as soon as there is nothing to take. See docs/scale.md.
"""

import sys
import time

import luigi
from luigi.execution_summary import LuigiStatusCode

from pipeline.errors import UserError
from tasks import configuration, scheduler
from tasks.messages import log_interrupt, logger

MAX_FAILURES = 3  # another worker may have a photo or disk space that this one lacks
FAILED, INTERRUPTED = 30, 130  # exit codes, as in luigi.cfg and tasks.nightly
_OPTIONS = [
    "--no-lock",  # several workers may run on one machine
    "--worker-keep-alive",
    # A worker that has waited this long checks all tasks again, and finds those of dead workers.
    "--worker-max-keep-alive-idle-duration=30 seconds",
]
_PAUSE_S = 5.0  # seconds between checks while other workers do the last step
_FAILURES = (
    LuigiStatusCode.FAILED,
    LuigiStatusCode.FAILED_AND_SCHEDULING_FAILED,
    LuigiStatusCode.SCHEDULING_FAILED,
)


def main() -> None:
    """Work until the task is complete; exit with a code other than 0 if that fails."""
    arguments = ["--module", "tasks", *_OPTIONS, *sys.argv[1:]]
    task = configuration.parse_task(arguments)
    try:
        scheduler.require(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(scheduler.EXIT_CODE)
    failures = 0
    try:
        while not task.complete():
            if failures == MAX_FAILURES:
                sys.exit(FAILED)
            result = luigi.run(arguments, detailed_summary=True)
            if result.status in _FAILURES:
                failures += 1
                logger.warning("Failed %s of %s times", failures, MAX_FAILURES)
            elif not task.complete():
                time.sleep(_PAUSE_S)
    except KeyboardInterrupt as error:
        log_interrupt(type(error), error, None)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
