"""Sample photos, for a first run without photos of your own."""

import luigi

from pipeline.photos import samples
from tasks.data_options import SAMPLE_DIR
from tasks.messages import logger
from tasks.step import Step, fetch


class SamplePhotos(Step):
    """Write parts of photographs that scikit-image includes."""

    def output(self) -> luigi.Target:
        return luigi.LocalTarget(SAMPLE_DIR.absolute())

    def work(self) -> None:
        samples.write_parts(fetch(self.output()))
        count = len(samples.PHOTOGRAPHS)
        logger.info("Wrote parts of %s photographs to %s: a class for each", count, SAMPLE_DIR)
