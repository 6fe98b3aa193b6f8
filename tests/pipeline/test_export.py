"""The exported files, used as a stranger would use them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import export, features, modules, recipe
from pipeline import head as heads
from pipeline.errors import UserError
from pipeline.head import Head, Training
from pipeline.modules import Module
from pipeline.recipe import Recipe
from tests.conftest import PhotoMaker

LABELS = ("green leaf", "red_rose", "薔薇")


@pytest.fixture(scope="module")
def module(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Module:
    return modules.prepare(str(tiny_module), tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def head() -> Head:
    generator = np.random.default_rng(0)
    weights, bias = generator.normal(size=(12, 3)), generator.normal(size=3)
    return Head(LABELS, weights.astype(np.float32), bias.astype(np.float32))


@pytest.fixture(scope="module")
def exported(module: Module, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported")
    export.export(head, module, directory, "final_result")
    return directory


@pytest.fixture
def head_directory(head: Head, tmp_path: Path) -> Path:
    heads.write(head, Training(0.01, 30, 3, ()), tmp_path / "head")
    return tmp_path / "head"


@pytest.fixture
def photos(tmp_path: Path, make_photo: PhotoMaker) -> list[Path]:
    kinds = ["jpg", "png", "gif", "bmp", "webp"]
    return [make_photo(tmp_path / f"{i}.{kind}", i, i) for i, kind in enumerate(kinds)]


def expected(photos: list[Path], module: Module, head: Head) -> np.ndarray:
    (batch,) = features.extract(photos, module, "float32")
    return head.probabilities(batch.vectors)


def signature(exported: Path, name: str) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(exported / "saved_model")).signatures[name]


def test_files_in_give_what_training_saw(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    given = signature(exported, "serving_default")(
        image_bytes=tf.constant([photo.read_bytes() for photo in photos])
    )
    probabilities = expected(photos, module, head)
    assert np.allclose(given["probabilities"], probabilities, atol=1e-6)
    assert np.allclose(given["scores"], -np.sort(-probabilities), atol=1e-6)
    best = [row[0].decode() for row in given["classes"].numpy()]
    assert best == [LABELS[i] for i in probabilities.argmax(1)]


def test_pixels_in_give_the_same(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    from pipeline import images

    pixels = tf.stack([images.decode(photo.read_bytes(), 8, 8) for photo in photos])
    given = signature(exported, "pixels")(image=pixels)["prediction"]
    assert np.allclose(given, expected(photos, module, head), atol=1e-6)


def test_the_frozen_graph_gives_the_same_through_tensorflow_1(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    from pipeline import images

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((exported / "output_graph.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="import")
    given = graph.get_operation_by_name("import/Placeholder").outputs[0]
    answer = graph.get_operation_by_name("import/final_result").outputs[0]
    assert given.shape.as_list() == [None, 8, 8, 3]
    pixels = [images.decode(photo.read_bytes(), 8, 8).numpy()[None] for photo in photos]
    with tf.compat.v1.Session(graph=graph) as session:
        results = [session.run(answer, {given: each})[0] for each in pixels]
    assert np.allclose(results, expected(photos, module, head), atol=1e-6)


def test_the_frozen_graph_has_no_variables(exported: Path) -> None:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((exported / "output_graph.pb").read_bytes())
    assert not {"VarHandleOp", "ReadVariableOp"} & {node.op for node in graph_def.node}


def test_labels_are_one_a_line_unchanged(exported: Path) -> None:
    lines = (exported / "output_labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == list(LABELS)


def test_a_process_without_our_code_loads_the_saved_model(
    exported: Path, photos: list[Path], tmp_path: Path
) -> None:
    program = (
        "import sys, tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "photo = tf.constant([tf.io.read_file(sys.argv[2]).numpy()])\n"
        "given = model.signatures['serving_default'](photo)\n"
        "assert 'pipeline' not in sys.modules\n"
        "print(given['classes'].numpy()[0, 0].decode())\n"
    )
    command = [sys.executable, "-I", "-c", program, exported / "saved_model", photos[0]]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.strip() in LABELS


def test_another_final_tensor_name_is_used(module: Module, head: Head, tmp_path: Path) -> None:
    import tensorflow as tf

    export.export(head, module, tmp_path, "answer")
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((tmp_path / "output_graph.pb").read_bytes())
    names = {node.name for node in graph_def.node}
    assert "answer" in names
    assert "final_result" not in names


def test_a_name_that_tensorflow_refuses_is_refused(
    module: Module, head: Head, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="final_tensor_name is 'my result'"):
        export.export(head, module, tmp_path, "my result")


def test_a_published_model_has_its_evaluation_head_and_recipe_and_current_stays(
    module: Module, head_directory: Path, tmp_path: Path
) -> None:
    made_by = Recipe(module, "float32", "float16")
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "evaluation.json").write_text("{}")
    model = tmp_path / "out" / "models" / "first"
    for _ in range(2):
        export.publish(head_directory, made_by, evaluation, "final_result", model)
        assert (model / "evaluation.json").exists()
        assert (model / "saved_model" / "saved_model.pb").exists()
        assert heads.read(model).labels == LABELS
        assert recipe.read(model / "recipe.json") == made_by
    assert not (tmp_path / "out" / "current").exists()


def test_a_failed_export_leaves_nothing(
    module: Module, head_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "evaluation").mkdir()
    made_by = Recipe(module, "float32", "float16")
    directory = tmp_path / "out/models/m"
    with pytest.raises(UserError):
        export.publish(head_directory, made_by, tmp_path / "evaluation", "not a name", directory)
    assert not (tmp_path / "out" / "current").exists()
    assert not list((tmp_path / "out" / "models").iterdir())
