"""What the README and the documents say exists, and the tutorial leads to its end."""

import json
import os
import re
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tasks import ExportModel
from tests.support.commands import BIN, ROOT, environment

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "data/README.md"])
# Those of tensorflow/hub's examples/image_retraining/retrain.py.
RETRAIN_FLAGS = re.findall(
    r"\w+",
    """
    image_dir output_graph intermediate_output_graphs_dir intermediate_store_frequency
    output_labels summaries_dir how_many_training_steps learning_rate testing_percentage
    validation_percentage eval_step_interval train_batch_size test_batch_size validation_batch_size
    print_misclassified_test_images bottleneck_dir final_tensor_name flip_left_right random_crop
    random_scale random_brightness tfhub_module saved_model_dir logging_verbosity checkpoint_path
    """,
)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^    .*", "", document.read_text(), flags=re.MULTILINE)
    for link in re.findall(r"\]\(([^)]+)\)", prose):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short_and_its_commands_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 120
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    variables = re.findall(r"^VARIABLES := (.*)", makefile, re.MULTILINE)[0].split()
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= {*targets}
    assert set(re.findall(r"\b([A-Z_]+)=", text)) <= {*variables}


def test_each_flag_of_retrain_py_has_its_counterpart() -> None:
    flags = (ROOT / "docs/retrain.md").read_text().partition("## label_image.py")[0]
    rows = re.findall(r"^\| `--(\w+)` \| (.+?) \|", flags, re.M)
    assert sorted(flag for flag, _ in rows) == sorted(RETRAIN_FLAGS)
    options = {f"`--{name.replace('_', '-')}`" for name, _ in ExportModel.get_params()}
    assert {counterpart for _, counterpart in rows} <= {*options, "none", "`--log-level`"}
    same_name = {flag for flag in RETRAIN_FLAGS if f"`--{flag.replace('_', '-')}`" in options}
    assert same_name == {flag for flag, other in rows if other == f"`--{flag.replace('_', '-')}`"}


def test_all_files_state_the_same_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_pre_commit_runs_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    hooked = [h["entry"].replace(".venv/bin/", "").replace(" --force-exclude", "") for h in hooks]
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert hooked == [c.removesuffix(" .") for c in re.findall(r"\$\(BIN\)/(.*)", lint)]


def test_the_oldest_versions_are_those_of_pyproject() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    for line in (ROOT / "constraints-oldest.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        least = re.search(rf'"{name}(?:\[.*\])?>=([\d.]+)', declared)
        assert line.startswith("#") or (least and f"{version}.".startswith(f"{least[1]}.")), line


@pytest.mark.slow
def test_the_tutorial_leads_to_a_model_that_answers_curl(tiny_module: Path, tmp_path: Path) -> None:
    """Run its commands, on a free port and with a small module."""
    text = (ROOT / "docs/tutorial.md").read_text()
    text = text[text.index("## 2.") : text.index("## 6.")]
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    commands = "".join(block for block in blocks if not block.lstrip().startswith("{"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        commands = commands.replace("8000", str(free.getsockname()[1]))
    (tmp_path / "luigi.cfg").write_text(f"[module]\ntfhub_module = {tiny_module}\n")
    variables = environment() | {
        "HOME": str(tmp_path),
        "LUIGI_CONFIG_PATH": str(tmp_path / "luigi.cfg"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    program = ["bash", "-euo", "pipefail", "-c", f"trap 'kill %1 || true' ERR\n{commands}"]
    done = subprocess.run(program, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads(re.findall(r'{"answers".*', done.stdout)[0])["answers"]
    assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=0.1)
    assert "Bottlenecks: 318 computed" in done.stderr
    assert "Bottlenecks: 2 computed" in done.stderr
