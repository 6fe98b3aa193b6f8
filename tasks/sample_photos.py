"""Sample photos, for a first run without photos of your own."""

import luigi

from pipeline.photos import samples
from tasks.messages import logger
from tasks.options import SAMPLE_DIR
from tasks.step import Step, fetch


class SamplePhotos(Step):
    """Write scikit-learn's 1,797 scanned digits as image files."""

    def output(self) -> luigi.Target:
        return luigi.LocalTarget(SAMPLE_DIR.absolute())

    def work(self) -> None:
        samples.write_digits(fetch(self.output()))
        logger.info("Wrote %s scanned digits to %s", f"{samples.COUNT:,}", SAMPLE_DIR)
