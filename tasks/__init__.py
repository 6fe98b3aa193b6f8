"""The steps and their dependencies, as Luigi tasks: `luigi --module tasks ExportModel`."""

import sys

from pipeline.errors import UserError

try:
    from tasks import environment

    environment.prepare()  # before anything imports Luigi

    from tasks import command_line, configuration
    from tasks.check_data import CheckData
    from tasks.compute_bottlenecks import ComputeBottlenecks
    from tasks.compute_shard import ComputeShard
    from tasks.compute_shards import ComputeShards
    from tasks.compute_unknown import ComputeUnknown
    from tasks.evaluate_model import EvaluateModel
    from tasks.export_model import ExportModel
    from tasks.fetch_dataset import FetchDataset
    from tasks.fine_tune_module import FineTuneModule
    from tasks.messages import handle_termination, log_interrupt, logger, tidy
    from tasks.nightly_retrain import NightlyRetrain
    from tasks.plan_shards import PlanShards
    from tasks.predict_images import PredictImages
    from tasks.prepare_module import PrepareModule
    from tasks.prune_runs import PruneRuns
    from tasks.sample_photos import SamplePhotos
    from tasks.search_head import SearchHead
    from tasks.split_dataset import SplitDataset
    from tasks.suggest_photos import SuggestPhotos
    from tasks.train_head import TrainHead

    for warning in configuration.check_names():
        logger.warning(warning)
    configuration.check_luigi_options()
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
    "FineTuneModule",
    "NightlyRetrain",
    "PlanShards",
    "PredictImages",
    "PrepareModule",
    "PruneRuns",
    "SamplePhotos",
    "SearchHead",
    "SplitDataset",
    "SuggestPhotos",
    "TrainHead",
]

sys.excepthook = log_interrupt
handle_termination()
logger.addFilter(tidy)
logger.propagate = False  # TensorFlow adds a handler to the root logger

command_line.refuse_mistakes()
command_line.explain_lock()
configuration.set_luigi_defaults(sys.argv)
