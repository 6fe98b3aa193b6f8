"""Use a model's folder without the code of this project. Run by test_stranger.py with -I.

    python -I stranger.py MODEL PHOTO ...

prints as JSON, for each file of the model, the best label of each photo.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

model, photos = Path(sys.argv[1]), sys.argv[2:]
contract = json.loads((model / "model.json").read_text(encoding="utf-8"))
labels = (model / "output_labels.txt").read_text(encoding="utf-8").splitlines()
assert labels == contract["labels"]
size = contract["input"]["height"], contract["input"]["width"]

encoded = [tf.io.read_file(photo) for photo in photos]
decoded = [tf.io.decode_image(photo, 3, expand_animations=False) for photo in encoded]
pixels = tf.stack([tf.image.resize(photo, size) * (1 / 255) for photo in decoded])

answers = {}
signatures = tf.saved_model.load(str(model / "saved_model")).signatures
best = signatures["serving_default"](image_bytes=tf.stack(encoded))["classes"][:, 0]
answers["bytes"] = [label.decode() for label in best.numpy()]
found = {"pixels": signatures["pixels"](image=pixels)["prediction"].numpy()}

graph_def = tf.compat.v1.GraphDef()
graph_def.ParseFromString((model / "output_graph.pb").read_bytes())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        found["output_graph.pb"] = session.run("final_result:0", {"Placeholder:0": pixels.numpy()})

for path in sorted(model.glob("*.tflite")):
    run = Interpreter(str(path)).get_signature_runner()
    each = [run(image=one[None])["prediction"] for one in pixels.numpy()]
    found[path.name] = np.concatenate(each)

session = onnxruntime.InferenceSession(str(model / "model.onnx"))
(found["model.onnx"],) = session.run(None, {"Placeholder:0": pixels.numpy()})

answers |= {name: [labels[i] for i in array.argmax(1)] for name, array in found.items()}
assert not {"pipeline", "tasks"} & set(sys.modules)
print(json.dumps(answers))
