"""The steps and their dependencies, as Luigi tasks: `luigi --module tasks ExportModel`."""

import sys

from luigi.configuration import get_config

from pipeline.errors import UserError

try:
    from tasks import configuration
    from tasks.check_data import CheckData
    from tasks.compute_bottlenecks import ComputeBottlenecks
    from tasks.compute_shard import ComputeShard
    from tasks.compute_shards import ComputeShards
    from tasks.compute_unknown import ComputeUnknown
    from tasks.evaluate_model import EvaluateModel
    from tasks.export_model import ExportModel
    from tasks.fetch_dataset import FetchDataset
    from tasks.messages import log_interrupt, logger, tidy
    from tasks.nightly_retrain import NightlyRetrain
    from tasks.plan_shards import PlanShards
    from tasks.predict_images import PredictImages
    from tasks.prepare_module import PrepareModule
    from tasks.prune_runs import PruneRuns
    from tasks.sample_photos import SamplePhotos
    from tasks.search_head import SearchHead
    from tasks.split_dataset import SplitDataset
    from tasks.train_head import TrainHead

    for warning in configuration.check_names():
        logger.warning(warning)
except UserError as error:
    raise SystemExit(str(error)) from None

__all__ = [
    "CheckData",
    "ComputeBottlenecks",
    "ComputeShard",
    "ComputeShards",
    "ComputeUnknown",
    "EvaluateModel",
    "ExportModel",
    "FetchDataset",
    "NightlyRetrain",
    "PlanShards",
    "PredictImages",
    "PrepareModule",
    "PruneRuns",
    "SamplePhotos",
    "SearchHead",
    "SplitDataset",
    "TrainHead",
]

sys.excepthook = log_interrupt
logger.addFilter(tidy)
logger.propagate = False  # TensorFlow adds a handler to the root logger

# luigi.cfg asks for a local scheduler; a scheduler named on the command line takes precedence.
if any(argument.startswith("--scheduler-") for argument in sys.argv):
    get_config().set("core", "local_scheduler", "false")

# The metrics in luigi.cfg are for luigid; a local scheduler must not require prometheus-client.
get_config().set("scheduler", "metrics_collector", "default")
