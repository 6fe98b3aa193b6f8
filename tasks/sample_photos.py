"""Sample photos, for a first try without any of one's own."""

import luigi

from pipeline.photos import samples
from tasks.messages import logger
from tasks.options import SAMPLE_DIR
from tasks.step import Step, path


class SamplePhotos(Step):
    """Write scikit-learn's 1,797 scanned digits as image files."""

    def output(self) -> luigi.Target:
        return luigi.LocalTarget(SAMPLE_DIR.absolute())

    def work(self) -> None:
        samples.write_digits(path(self.output()))
        logger.info("%s scanned digits written to %s", f"{samples.COUNT:,}", SAMPLE_DIR)
