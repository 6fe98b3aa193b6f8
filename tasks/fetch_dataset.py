"""Download a public data set."""

import luigi

from pipeline.photos import datasets
from tasks.data_options import DATA_DIR, DataOptions
from tasks.messages import logger
from tasks.step import Step, fetch


class FetchDataset(Step):
    """Download a public data set from its publisher, and unpack it."""

    dataset = DataOptions.dataset

    def output(self) -> luigi.Target:
        dataset = datasets.DATASETS[self.dataset]
        return luigi.LocalTarget(dataset.directory(self.dataset, DATA_DIR).absolute())

    def work(self) -> None:
        dataset = datasets.DATASETS[self.dataset]
        size = f"{dataset.megabytes:,}"
        logger.info("%s: %s. About %s MB to download", self.dataset, dataset.notice, size)
        datasets.fetch(self.dataset, fetch(self.output()).parent, self.reporter)
        logger.info("%s is in %s", self.dataset, fetch(self.output()))
