"""Delete the results of earlier runs that nothing needs any more."""

import luigi

from pipeline.errors import UserError
from pipeline.files import locks, places
from pipeline.nightly import prune
from tasks.command_options import PruneOptions
from tasks.messages import logger


class PruneRuns(PruneOptions, luigi.Task):
    """List the results of earlier runs that nothing needs; with --delete, delete them."""

    done = False

    def complete(self) -> bool:
        return self.done

    def run(self) -> None:
        places.existing_output(self.output_dir)
        with locks.try_exclusive(self.output_dir / locks.IN_USE) as lock:
            if lock is None:
                raise UserError(f"output_dir: a run is using {self.output_dir}; prune later")
            leftovers = prune.find(self.output_dir, self.keep)
            if self.delete:
                prune.delete(self.output_dir, leftovers)
        for line in prune.summary_lines(leftovers, self.delete):
            logger.info(line)
        self.done = True
