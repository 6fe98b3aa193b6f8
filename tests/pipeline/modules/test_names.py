"""Names of modules: which one a mistyped handle may mean."""

import pytest

from pipeline.modules import names


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("MobileNetV2", "keras:MobileNetV2"),
        ("Keras:MobileNetV2", "keras:MobileNetV2"),
        ("KERAS:mobilenet_v2@/Weights.h5", "keras:MobileNetV2@/Weights.h5"),
        ("keras://ResNet-50", "keras:ResNet50"),
        ("tf.keras.applications.ResNet50", "keras:ResNet50"),
        ("mobilenetv3", "keras:MobileNetV3Large"),
        ("EfficientNet-Lite0", "efficientnet-lite0"),
        ("efficientnet_lite_1", "efficientnet-lite1"),
        ("keras:efficientnet-lite2", "efficientnet-lite2"),
        ("effnet-lite1", "efficientnet-lite1"),
        ("keras:EfficientNet", "keras:EfficientNetB0"),
        (
            "google/mobilenet-v2/tensorFlow2/100-224-feature-vector/2",
            "https://www.kaggle.com/models/google/mobilenet-v2/tensorFlow2/100-224-feature-vector/2",
        ),
        ("tfhub.dev/google/module/1", "https://tfhub.dev/google/module/1"),
    ],
)
def test_the_nearest_module_is_found(typed: str, meant: str) -> None:
    assert names.nearest(typed) == meant


@pytest.mark.parametrize(
    "handle",
    ["", "m", "flowers", "models/resnet50", "resnet50.keras", "https://host/mobilenetv2"],
)
def test_paths_and_other_words_resemble_no_module(handle: str) -> None:
    assert names.nearest(handle) == ""
