"""The same photos and settings give the same bytes, in any folder."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.digits import write_digits
from tests.support.processes import Pipeline

# Files with dates, durations or random identifiers, and files with digests of these.
NOT_COMPARED = {
    *("evaluation.json", "fingerprint.pb", "history.sqlite", "model.json", "model_card.json"),
    *("model_card.md", "report.html", "timings.jsonl"),
}
ALL_KINDS = (
    *("--augmentations", 2, "--random-crop", 10, "--flip-left-right"),
    *("--optimizer", "sgd", "--how-many-training-steps", 200),
    *("--tflite", "float32,float16,int8", "--onnx"),
)


def contents(out: Path) -> dict[str, str]:
    """Return the path of each file, with the digest of its content if that must be equal.

    Occurrences of the output folder itself are ignored.
    """
    return {
        str(path.relative_to(out)): ""
        if path.name in NOT_COMPARED
        else hashlib.sha256(_content(path).replace(str(out).encode(), b"")).hexdigest()
        for path in out.rglob("*")
        if path.is_file()
    }


def _content(path: Path) -> bytes:
    if path.name != "output_graph.pb" and not (
        path.suffix == ".pb" and path.parent.name == "modules"
    ):
        return path.read_bytes()
    from tensorflow.core.framework.graph_pb2 import GraphDef

    nodes = GraphDef.FromString(path.read_bytes()).node  # in arbitrary order
    return b"".join(sorted(node.SerializeToString(deterministic=True) for node in nodes))


def twice(pipeline: Pipeline, scratch: Path, *options: object) -> None:
    for name in ("one", "two"):
        ended = pipeline.run(scratch / name, *options)
        assert ended.returncode == 0, ended.stderr
    one, two = contents(scratch / "one"), contents(scratch / "two")
    assert {name for name in one | two if one.get(name) != two.get(name)} == set()


@pytest.mark.slow
def test_copies_steps_and_files_of_all_kinds_are_the_same_bytes(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    twice(pipeline, tmp_path, *ALL_KINDS)


@pytest.mark.torture
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_built_in_module_gives_the_same_bytes(
    pipeline: Pipeline, tmp_path: Path, precision: str
) -> None:
    write_digits(tmp_path / "digits")
    of_digits = replace(pipeline, image_dir=tmp_path / "digits", module=Path("efficientnet-lite0"))
    twice(of_digits, tmp_path, "--precision", precision)
