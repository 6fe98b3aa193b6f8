"""Run a task, like `luigi --module tasks`, with luigi.cfg checked before Luigi reads it.

python -m tasks ExportModel --image-dir photos
"""

import sys

from luigi.cmdline import luigi_run

from pipeline.errors import UserError
from tasks import scheduler

if __name__ == "__main__":
    arguments = ["--module", "tasks", *sys.argv[1:]]
    try:
        scheduler.require(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(scheduler.EXIT_CODE)
    luigi_run(arguments)
