"""The exported files, used as a stranger would use them."""

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.bottlenecks import extraction, recipe
from pipeline.errors import UserError
from pipeline.export import model_folder, model_json, saved_model
from pipeline.export.model_folder import Options, Source
from pipeline.head import softmax_head
from pipeline.head.familiarity import Familiarity
from pipeline.head.softmax_head import Head
from pipeline.modules import preparation
from pipeline.modules.loading import Module
from pipeline.nightly import current_model
from pipeline.pixels.decoding import InputSpec
from tests.support.photos import PhotoMaker
from tests.support.store import Store, saved

LABELS = ("green leaf", "red_rose", "薔薇")


@pytest.fixture(scope="module")
def module(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Module:
    return preparation.prepare(str(tiny_module), tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def head() -> Head:
    generator = np.random.default_rng(0)
    weights, bias = generator.normal(size=(12, 3)), generator.normal(size=3)
    return Head(LABELS, weights.astype(np.float32), bias.astype(np.float32))


@pytest.fixture(scope="module")
def exported(module: Module, head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported")
    saved_model.write(head, module, directory, "final_result")
    return directory


@pytest.fixture
def photos(tmp_path: Path, make_photo: PhotoMaker) -> list[Path]:
    kinds = ["jpg", "png", "gif", "bmp", "webp"]
    return [make_photo(tmp_path / f"{i}.{kind}", i, i) for i, kind in enumerate(kinds)]


def expected(photos: list[Path], module: Module, head: Head) -> np.ndarray:
    (batch,) = extraction.extract(photos, module, "float32")
    return head.probabilities(batch.vectors)


def encoded(photo: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    photo.save(file, kind, **options)
    return file.getvalue()


def signature(exported: Path, name: str) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(exported / "saved_model")).signatures[name]


def test_files_in_give_what_training_saw(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    answers = signature(exported, "serving_default")(
        image_bytes=tf.constant([photo.read_bytes() for photo in photos])
    )
    probabilities = expected(photos, module, head)
    assert np.allclose(answers["probabilities"], probabilities, atol=1e-6)
    assert np.allclose(answers["scores"], -np.sort(-probabilities), atol=1e-6)
    best = [row[0].decode() for row in answers["classes"].numpy()]
    assert best == [LABELS[i] for i in probabilities.argmax(1)]


@pytest.fixture(scope="module")
def choosy_head(head: Head) -> Head:
    """The same head with a familiarity."""
    generator = np.random.default_rng(1)
    directions, _ = np.linalg.qr(generator.normal(size=(12, 8)))
    fitted = Familiarity(
        directions=directions.astype(np.float32),
        references=generator.normal(size=(8, 20)).astype(np.float32),
        similarity_units=np.array([1, 0.1], np.float32),
        logit_units=np.array([0.2, 0.3], np.float32),
        cap=np.array(1, np.float32),
        other=np.array(-1),
        levels=np.sort(generator.normal(0, 20, size=300)).astype(np.float32),
    )
    return replace(head, familiarity=fitted)


def test_known_is_that_of_the_head_and_the_scores_do_not_change(
    exported: Path, choosy_head: Head, photos: list[Path], module: Module, tmp_path: Path
) -> None:
    import tensorflow as tf

    saved_model.write(choosy_head, module, tmp_path, "final_result")
    files = tf.constant([photo.read_bytes() for photo in photos] + [b"no photo"])
    before = signature(exported, "serving_default")(image_bytes=files)
    after = signature(tmp_path, "serving_default")(image_bytes=files)
    for name in ("classes", "scores", "probabilities"):
        assert np.array_equal(before[name], after[name])
    assert before["known"].numpy().tolist() == [1] * len(photos) + [0]
    (batch,) = extraction.extract(photos, module, "float32")
    fit = choosy_head.familiarity
    assert fit
    known = fit.known(fit.score(batch.vectors, choosy_head.logits(batch.vectors)))
    assert len(set(known.tolist())) > 1
    assert np.allclose(after["known"], [*known, 0], atol=1.5 / 300)


def test_the_other_class_is_never_an_answer(
    choosy_head: Head, photos: list[Path], module: Module, tmp_path: Path
) -> None:
    import tensorflow as tf

    best = [expected([photo], module, choosy_head).argmax() for photo in photos]
    assert choosy_head.familiarity
    familiarity = replace(choosy_head.familiarity, other=np.array(best[0]))
    saved_model.write(
        replace(choosy_head, familiarity=familiarity), module, tmp_path, "final_result"
    )
    files = tf.constant([photo.read_bytes() for photo in photos])
    answers = signature(tmp_path, "serving_default")(image_bytes=files)
    other = LABELS[best[0]].encode()
    assert answers["classes"].shape == answers["scores"].shape == (len(photos), 2)
    assert other not in answers["classes"].numpy()
    assert answers["probabilities"].shape == (len(photos), 3)
    known = answers["known"].numpy()[np.array(best) == best[0]]
    assert (known == 0).all()


def test_kinds_that_training_refuses_have_no_prediction(exported: Path) -> None:
    import tensorflow as tf

    noise = Image.effect_noise((64, 64), 50)
    options: dict[str, Any] = {"save_all": True, "append_images": [noise.rotate(90)]}
    files = [
        encoded(noise.convert("RGB"), "WEBP", **options),
        encoded(noise.convert("RGB").quantize(256), "BMP"),
        encoded(noise.convert("RGB").quantize(16), "BMP"),
        encoded(noise, "BMP"),  # a palette of all greys in order
        encoded(noise.convert("RGB"), "BMP"),
        encoded(noise.convert("RGB"), "WEBP"),
    ]
    answers = signature(exported, "serving_default")(image_bytes=tf.constant(files))
    assert [bool(row[0]) for row in answers["classes"].numpy()] == [False] * 3 + [True] * 3


def test_pixels_in_give_the_same(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    from pipeline.pixels import decoding

    pixels = tf.stack([decoding.decode(photo.read_bytes(), InputSpec(8, 8)) for photo in photos])
    answers = signature(exported, "pixels")(image=pixels)["prediction"]
    assert np.allclose(answers, expected(photos, module, head), atol=1e-6)


def test_the_frozen_graph_gives_the_same_through_tensorflow_1(
    exported: Path, photos: list[Path], module: Module, head: Head
) -> None:
    import tensorflow as tf

    from pipeline.pixels import decoding

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((exported / "output_graph.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="import")
    placeholder = graph.get_operation_by_name("import/Placeholder").outputs[0]
    answer = graph.get_operation_by_name("import/final_result").outputs[0]
    assert placeholder.shape.as_list() == [None, 8, 8, 3]
    pixels = [
        decoding.decode(photo.read_bytes(), InputSpec(8, 8)).numpy()[None] for photo in photos
    ]
    with tf.compat.v1.Session(graph=graph) as session:
        results = [session.run(answer, {placeholder: each})[0] for each in pixels]
    assert np.allclose(results, expected(photos, module, head), atol=1e-6)


def test_the_frozen_graph_has_no_variables(exported: Path) -> None:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((exported / "output_graph.pb").read_bytes())
    assert not {"VarHandleOp", "ReadVariableOp"} & {node.op for node in graph_def.node}


def test_labels_are_one_a_line_unchanged(exported: Path) -> None:
    lines = (exported / "output_labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == list(LABELS)


@pytest.mark.slow
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

    saved_model.write(head, module, tmp_path, "answer")
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((tmp_path / "output_graph.pb").read_bytes())
    names = {node.name for node in graph_def.node}
    assert "answer" in names
    assert "final_result" not in names


def test_a_name_that_tensorflow_refuses_is_refused(
    module: Module, head: Head, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="final_tensor_name is 'my result'"):
        saved_model.write(head, module, tmp_path, "my result")


@pytest.fixture
def source(store: Store) -> Source:
    """A head that tells the photos of `photo_dir` apart, evaluated on its test photos."""
    store.run()
    return store.evaluate()


def test_a_published_model_has_all_its_files(source: Source, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model_folder.write(source, Options("answer", ("float32", "int8"), onnx=True), model)
    names = {path.name for path in model.iterdir()}
    assert names == {
        *("saved_model", "output_graph.pb", "output_labels.txt", "model.onnx", "model.json"),
        *("model-float32.tflite", "model-int8.tflite", "model_card.md", "model_card.json"),
        *("head.npz", "familiarity.npz", "training.json", "calibration.json", "recipe.json"),
        *("evaluation.json", "predictions.parquet"),
    }
    assert softmax_head.read(model).labels == ("green leaf", "red_rose")
    assert recipe.read(model) == source.recipe
    answers = model_json.parity_results(model)
    assert set(answers) == {p for p in names if p.endswith((".tflite", ".onnx", "_graph.pb"))} | {
        "saved_model"
    }
    assert {(a.photos, a.top1, a.agreement) for a in answers.values()} == {(4, 1.0, 1.0)}


def test_a_model_that_is_there_is_kept(source: Source, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    model_folder.write(source, Options(), tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_failed_export_leaves_nothing(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        model_folder.write(source, Options("not a name"), tmp_path / "models/model")
    assert list((tmp_path / "models").iterdir()) == []


def test_each_release_is_a_newer_version_for_serving_and_takes_no_room(tmp_path: Path) -> None:
    models = [saved(tmp_path / "models" / name, name) for name in "abc"]
    for number, model in enumerate([*models, models[0]], 1):
        current_model.switch(model, tmp_path)
        served = tmp_path / "serving" / str(number) / "saved_model.pb"
        assert served.samefile(model / "saved_model/saved_model.pb")
        assert (tmp_path / "current").resolve() == model
    assert sorted(p.name for p in (tmp_path / "serving").iterdir()) == ["3", "4"]
    assert (tmp_path / "serving/4/variables/variables.index").read_text() == "a"


def test_versions_count_on_past_nine(tmp_path: Path) -> None:
    models = [saved(tmp_path / "models" / name, name) for name in "ab"]
    for number in range(11):
        current_model.switch(models[number % 2], tmp_path)
    assert sorted(p.name for p in (tmp_path / "serving").iterdir()) == ["10", "11"]


def test_a_release_that_was_killed_half_way_makes_no_second_version(tmp_path: Path) -> None:
    model = saved(tmp_path / "models/a", "a")
    current_model.switch(model, tmp_path)
    (tmp_path / "current").unlink()
    current_model.switch(model, tmp_path)
    assert [p.name for p in (tmp_path / "serving").iterdir()] == ["1"]
    assert (tmp_path / "current").resolve() == model


def test_without_hard_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    current_model.switch(saved(tmp_path / "models/a", "a"), tmp_path)
    assert (tmp_path / "serving/1/saved_model.pb").read_text() == "a"


@pytest.mark.parametrize("batch", [["bad", "good", "bad", "good"], ["bad"], ["good"], []])
def test_what_is_no_photo_gets_empty_classes_and_the_others_their_own(
    exported: Path, photos: list[Path], module: Module, head: Head, batch: list[str]
) -> None:
    import tensorflow as tf

    cut = photos[0].read_bytes()[:300]
    content = [photos[i].read_bytes() if what == "good" else cut for i, what in enumerate(batch)]
    answers = signature(exported, "serving_default")(image_bytes=tf.constant(content, tf.string))
    good = [what == "good" for what in batch]
    classes, scores = answers["classes"].numpy(), answers["scores"].numpy()
    assert [row[0] != b"" for row in classes] == good
    assert [row[0] > 0 for row in scores] == good
    assert not scores[[not g for g in good]].any()
    assert not answers["probabilities"].numpy()[[not g for g in good]].any()
    readable = [photo for photo, g in zip(photos, good, strict=False) if g]
    if readable:
        wanted = expected(readable, module, head)
        np.testing.assert_allclose(answers["probabilities"].numpy()[good], wanted, atol=1e-6)


def test_its_savedmodel_alone_is_refused_as_a_module(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is an exported model, which returns probabilities"):
        preparation.prepare(str(exported / "saved_model"), tmp_path)
