"""One of many workers, on as many machines, that share the folders and a luigid.

    python -m tasks.worker ExportModel --image-dir photos --scheduler-url http://127.0.0.1:8082

takes what work there is, waits while others have it, and ends when the task is complete: the
luigi command would leave as soon as there is nothing to take. See docs/scale.md.
"""

import sys
import time

import luigi
from luigi.execution_summary import LuigiStatusCode

from pipeline.errors import UserError
from tasks import configuration
from tasks.messages import logger

TRIES = 3  # of what fails; another worker may have a photo or a disk that this one lacks
FAILED, MISTAKE, INTERRUPTED = 30, 2, 130  # exit codes, as those of luigi.cfg and tasks.nightly
_OPTIONS = [
    "--no-lock",  # several workers may run on one machine
    "--worker-keep-alive",
    # Who has waited so long looks at all tasks again, and finds the work of those who have died.
    "--worker-max-keep-alive-idle-duration=30 seconds",
]
_PAUSE_S = 5.0  # while others do the last step, luigid has nothing to wait for


def main() -> None:
    """Work until the task is complete; exits with another code than 0 if it does not become so."""
    arguments = ["--module", "tasks", *_OPTIONS, *sys.argv[1:]]
    try:
        task = configuration.asked(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(MISTAKE)
    failures = 0
    try:
        while not task.complete():
            if failures == TRIES:
                sys.exit(FAILED)
            result = luigi.run(arguments, detailed_summary=True)
            if result.status in _FAILURES:
                failures += 1
                logger.warning("Failed %s of %s times", failures, TRIES)
            elif not task.complete():
                time.sleep(_PAUSE_S)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


_FAILURES = (
    LuigiStatusCode.FAILED,
    LuigiStatusCode.FAILED_AND_SCHEDULING_FAILED,
    LuigiStatusCode.SCHEDULING_FAILED,
)

if __name__ == "__main__":
    main()
