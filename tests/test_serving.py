"""The SavedModel accepts and returns the formats of TensorFlow Serving."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.photos import PhotoMaker

pytestmark = pytest.mark.slow  # nearly every test starts processes

SAVED_MODEL_CLI = Path(sys.executable).with_name("saved_model_cli")


@pytest.fixture
def photos(make_photo: PhotoMaker, tmp_path: Path) -> list[bytes]:
    """Return two photos with an invalid one between them."""
    first, last = (make_photo(tmp_path / f"{hue}.jpg", hue).read_bytes() for hue in (0, 2))
    return [first, b"no photo", last]


def signature(model: Path, name: str) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model / "saved_model"))
    signature = loaded.signatures[name]
    signature.kept = loaded
    return signature


def test_saved_model_cli_shows_the_signatures(colours: Path) -> None:
    command = [SAVED_MODEL_CLI, "show", "--all", "--dir", colours / "saved_model"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    shown = done.stdout
    assert "signature_def['serving_default']" in shown
    assert "signature_def['pixels']" in shown
    assert "signature_def['known']" in shown
    for line in (
        *("inputs['image_bytes'] tensor_info:", "dtype: DT_STRING", "shape: (-1)"),
        *("inputs['image'] tensor_info:", "shape: (-1, 8, 8, 3)", "outputs['prediction']"),
        *("outputs['classes'] tensor_info:", "shape: (-1, 3)", "outputs['scores'] tensor_info:"),
        *("outputs['probabilities'] tensor_info:", "outputs['known'] tensor_info:"),
    ):
        assert line in shown
    assert shown.count("Method name is: tensorflow/serving/predict") == 3


def test_a_rest_request_is_answered(colours: Path, photos: list[bytes]) -> None:
    import tensorflow as tf

    # https://www.tensorflow.org/tfx/serving/api_rest: bytes as base64 under the key b64.
    instances = [{"image_bytes": {"b64": base64.b64encode(p).decode()}} for p in photos]
    body = json.loads(json.dumps({"signature_name": "serving_default", "instances": instances}))
    sent = [base64.b64decode(row["image_bytes"]["b64"]) for row in body["instances"]]
    answers = signature(colours, body["signature_name"])(image_bytes=tf.constant(sent))
    assert {int(values.shape[0]) for values in answers.values()} == {
        len(photos)
    }  # one row per photo, as REST requires
    # JSON contains outputs as text unless their names end in _bytes.
    rows = [
        {"classes": [c.decode() for c in classes], "scores": scores.tolist()}
        for classes, scores in zip(
            answers["classes"].numpy(), answers["scores"].numpy(), strict=True
        )
    ]
    answered = json.loads(json.dumps({"predictions": rows}))["predictions"]
    assert [row["classes"][0] for row in answered] == ["red", "", "blue"]
    assert answered[1]["scores"] == [0, 0, 0]


def test_a_grpc_request_is_answered(colours: Path, photos: list[bytes]) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "retrain"
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(photos))

    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    inputs = {name: tf.constant(tf.make_ndarray(p)) for name, p in received.inputs.items()}
    outputs = signature(colours, received.model_spec.signature_name)(**inputs)
    response = predict_pb2.PredictResponse()
    for name, values in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values.numpy()))

    answered = predict_pb2.PredictResponse.FromString(response.SerializeToString())
    assert set(answered.outputs) == {"classes", "scores", "probabilities", "known"}
    classes = tf.make_ndarray(answered.outputs["classes"])
    assert [row[0].decode() for row in classes] == ["red", "", "blue"]
    scores = tf.make_ndarray(answered.outputs["scores"])
    assert scores[0].sum() == pytest.approx(1)
    assert scores[1].sum() == 0
