"""Whether exported files answer as was evaluated."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.export import parity
from pipeline.export.parity import Parity
from pipeline.pixels.decoding import InputSpec
from tests.support.photos import PhotoMaker

TENSORS = ("Placeholder", "final_result")


def model(colours: Path, directory: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A model whose evaluation said this of its test photos: path, label, best answer."""
    copy = shutil.copytree(colours, directory)
    table = pd.DataFrame(rows, columns=["path", "label", "labels"])
    table["labels"] = table["labels"].map(lambda best: [best, "other"])
    table["digest"] = [f"{i:064x}" for i in range(len(rows))]
    table.to_parquet(copy / "predictions.parquet")
    return copy


def test_shares_are_of_the_truth_and_of_what_was_evaluated(
    colours: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    for hue in range(3):
        make_photo(tmp_path / f"{hue}.jpg", hue)
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    rows = [
        ("0.jpg", "red", "red"),
        ("1.jpg", "red", "green"),
        ("broken.jpg", "red", "red"),
        ("2.jpg", "green", "green"),
        ("0.jpg", "red", "red"),
    ]
    exported = model(colours, tmp_path / "model", rows)
    answers = parity.measure(exported, tmp_path, InputSpec(8, 8), TENSORS)
    assert set(answers) == {"saved_model", "output_graph.pb"}
    assert set(answers.values()) == {
        Parity(photos=4, top1=0.5, agreement=0.75, evaluated_top1=0.75)
    }


def test_no_more_than_some_hundreds_are_asked_about(
    colours: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    make_photo(tmp_path / "0.jpg", 0)
    exported = model(colours, tmp_path / "model", [("0.jpg", "red", "red")] * 5)
    answers = parity.measure(exported, tmp_path, InputSpec(8, 8), TENSORS, max_photos=2)
    assert answers["saved_model"].photos == 2


def test_without_test_photos_nothing_is_known(colours: Path, tmp_path: Path) -> None:
    answers = parity.measure(model(colours, tmp_path / "m", []), tmp_path, InputSpec(8, 8), TENSORS)
    assert set(answers.values()) == {Parity(0, None, None)}
    assert list(parity.summary_lines(answers, "float32")) == []


def test_files_that_do_worse_are_named_with_a_remedy() -> None:
    answers = {
        "saved_model": Parity(178, 0.86, 0.95, 0.9),
        "output_graph.pb": Parity(178, 0.86, 0.95, 0.9),
        "model-int8.tflite": Parity(178, 0.5, 0.6, 0.9),
        "model-float32.tflite": Parity(178, 0.89, 0.99, 0.9),
    }
    first, second = parity.summary_lines(answers, "bfloat16")
    assert first == (
        "saved_model and output_graph.pb: another class than in the evaluation for 9 of 178 test "
        "photos; right for 86.0% instead of 90.0%. The evaluation computed in bfloat16; to make "
        "them agree: --precision float32"
    )
    assert second.startswith("model-int8.tflite: another class than in the evaluation for 71 of")
    assert second.endswith("Expect this accuracy of the file; --tflite float16 loses less")


@pytest.mark.parametrize(
    "result", [Parity(3, 2 / 3, 2 / 3, 1.0), Parity(178, 0.9, 0.95, 0.9)], ids=["few", "as good"]
)
def test_chance_and_harmless_differences_are_not(result: Parity) -> None:
    assert list(parity.summary_lines({"saved_model": result}, "bfloat16")) == []
