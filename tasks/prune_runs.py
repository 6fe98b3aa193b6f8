"""Delete what nobody needs any more."""

import luigi

from pipeline.errors import UserError
from pipeline.files import locks
from pipeline.nightly import prune
from tasks.messages import logger
from tasks.options import PruneOptions


class PruneRuns(PruneOptions, luigi.Task):
    """Say what earlier runs left that can go; with --delete, delete it."""

    done = False

    def complete(self) -> bool:
        return self.done

    def run(self) -> None:
        with locks.try_exclusive(self.output_dir / locks.IN_USE) as held:
            if held is None:
                raise UserError(f"output_dir: a run is at work in {self.output_dir}; prune later")
            leftovers = prune.find(self.output_dir, self.keep)
            if self.delete:
                prune.delete(leftovers)
        for line in prune.summary_lines(leftovers, self.delete):
            logger.info(line)
        self.done = True
