"""Run the pipeline in this process, and report which steps had work to do."""

import logging
from typing import Any

import luigi
from luigi.task_register import Register

from tasks import ExportModel, check_data, split_dataset
from tasks.messages import logger

STEPS = ["CheckData", "ComputeBottlenecks", "EvaluateModel", "ExportModel", "TrainHead"]
ALL = [*STEPS, "PrepareModule", "SplitDataset"]


class Pipeline:
    """Runs the pipeline as a new process would, and returns the steps that had work."""

    task_class: type[luigi.Task] = ExportModel

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.lines: list[str] = []

    def run(self, **options: Any) -> list[str]:
        for memo in (
            split_dataset._list_photos,
            split_dataset._read_summary,
            split_dataset._digest_lists,
            split_dataset._read_corrections,
        ):
            memo.cache_clear()
        split_dataset._reported.clear()
        check_data._first.clear()
        Register.clear_instance_cache()
        self.lines = []
        handler = logging.Handler()
        handler.emit = lambda record: self.lines.append(record.getMessage())  # type: ignore
        logger.addHandler(handler)
        try:
            self.task = self.task_class(**{**self.options, **options})
            assert luigi.build([self.task], local_scheduler=True, log_level="INFO", no_lock=True)
        finally:
            logger.removeHandler(handler)
        return sorted(line.split()[0] for line in self.lines if " took " in line)
