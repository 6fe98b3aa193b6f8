"""Run a task, like `luigi --module tasks`, with luigi.cfg checked before Luigi reads it.

python -m tasks ExportModel --image-dir photos
"""

import sys

from luigi.cmdline import luigi_run

if __name__ == "__main__":
    luigi_run(["--module", "tasks", *sys.argv[1:]])
