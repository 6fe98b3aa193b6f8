"""Print the local output folder, with its current model up to date, for the Makefile.

    python -m tasks.output_folder [OUTPUT_DIR]

OUTPUT_DIR is a path or URL; the default is that of luigi.cfg.
"""

import os
import sys

from pipeline.errors import UserError
from pipeline.nightly import shared_state
from tasks import ExportModel


def main() -> None:
    """Print the folder; exit with a message if the output store does not answer."""
    options = {"output_dir": sys.argv[1]} if any(sys.argv[1:]) else {}
    try:
        output_dir = ExportModel(**options).output_dir
        shared_state.pull(output_dir)
    except UserError as error:
        sys.exit(str(error))
    # As bytes, which the locale cannot change.
    sys.stdout.buffer.write(os.fsencode(output_dir) + b"\n")


if __name__ == "__main__":
    main()
