"""Fetch a public data set."""

import luigi

from pipeline.photos import datasets
from tasks.messages import logger
from tasks.options import DATA_DIR, DataOptions
from tasks.step import Step, path


class FetchDataset(Step):
    """Fetch a public data set from its publisher, and unpack it."""

    dataset = DataOptions.dataset

    def output(self) -> luigi.Target:
        chosen = datasets.DATASETS[self.dataset]
        return luigi.LocalTarget(chosen.directory(self.dataset, DATA_DIR).absolute())

    def work(self) -> None:
        chosen = datasets.DATASETS[self.dataset]
        logger.info(
            "%s: %s. About %s MB to fetch", self.dataset, chosen.notice, f"{chosen.megabytes:,}"
        )
        datasets.fetch(self.dataset, path(self.output()).parent, self.reporter)
        logger.info("%s is in %s", self.dataset, path(self.output()))
