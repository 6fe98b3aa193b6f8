"""The options of single commands: prediction, search, suggestions, nightly runs and pruning."""

import luigi

from tasks.configuration import option
from tasks.data_options import OutputOptions
from tasks.options import WEIGHTINGS, ExportOptions, HeadOptions


class PredictOptions(OutputOptions):
    """Section [predict]: an exported model, and the photos to classify."""

    images = option(
        "predict.images",
        "",
        "folder of photos (with its subfolders), its URL, or a quoted pattern such as "
        "'photos/**/*.jpg'",
    )
    model = option(
        "predict.model",
        "",
        "folder of an exported model; empty: the current one, output_dir/current",
    )


class SuggestOptions(HeadOptions):
    """Section [suggest]: photos to label next."""

    images = PredictOptions.images
    suggestions = option("suggest.suggestions", 100, "number of photos to suggest", least=1)


class SearchOptions(HeadOptions):
    """Section [search]: lists of values; every combination of them is a head."""

    try_tfhub_module = option(
        "search.try_tfhub_module",
        "",
        "modules to compare, separated by commas; empty: only tfhub_module",
    )
    try_image_size = option(
        "search.try_image_size",
        "",
        "values of image_size to compare, separated by commas; empty: only image_size",
    )
    try_augmentations = option(
        "search.try_augmentations",
        "",
        "values of augmentations to compare, separated by commas; empty: only augmentations",
    )
    try_class_weighting = option(
        "search.try_class_weighting",
        ", ".join(WEIGHTINGS),
        "values of class_weighting to compare, separated by commas",
    )
    try_label_smoothing = option(
        "search.try_label_smoothing",
        "0, 0.1",
        "values of label_smoothing to compare, separated by commas",
    )
    try_l2 = option(
        "search.try_l2",
        "0",
        "values of l2 to compare, separated by commas; 0: the best on validation",
    )


class NightlyOptions(ExportOptions):
    """Section [nightly]: the gate for a night's model, and retries of failed runs."""

    assert_accuracy_at_least = option(
        "nightly.assert_accuracy_at_least",
        0.0,
        "minimum top-1 accuracy on the test photos, from 0 to 1",
        least=0,
        most=1,
    )
    tolerance = option(
        "nightly.tolerance",
        1.0,
        "percentage points by which a model may be worse than the current one",
        least=0,
        most=100,
    )
    page_url = option(
        "nightly.page_url",
        "",
        "URL of output_dir for browsers, to which the scheduler's page links",
        significant=False,
    )
    fine_tune_every = option(
        "nightly.fine_tune_every",
        7,
        "days between two nights that fine-tune the module, if fine_tune_epochs is set; the others "
        "train a head on the module of the current model; to fine-tune never, set fine_tune_epochs "
        "to 0",
        least=1,
    )
    retries = option(
        "nightly.retries", 2, "number of retries of a failed run", least=0, significant=False
    )
    retry_delay = option(
        "nightly.retry_delay", 60.0, "seconds before a retry", least=0, significant=False
    )


class PruneOptions(OutputOptions):
    """Section [prune]: what to keep of earlier runs."""

    keep = option("prune.keep", 30, "number of runs whose results are kept", least=1)
    delete = luigi.BoolParameter(
        default=False, description="delete; without it, only list what would be deleted"
    )
