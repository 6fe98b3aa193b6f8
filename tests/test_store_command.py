"""Commands with an output folder in S3: several machines, and mistakes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import output_store
from pipeline.nightly import current_model, history
from tests.support.commands import BIN, ROOT, environment, luigi
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker

pytestmark = pytest.mark.slow  # every test starts processes

URL = "s3://bucket/out"


def test_nights_on_two_machines_are_one_history(
    photo_dir: Path,
    tiny_module: Path,
    tmp_path: Path,
    objects: Objects,
    make_photo: PhotoMaker,
) -> None:
    shutil.copy(ROOT / "luigi.cfg", tmp_path)
    command = [sys.executable, "-m", "tasks.nightly", "--image-dir", photo_dir, "--workers", "2"]
    command += ["--tfhub-module", tiny_module, "--output-dir", URL, "--retry-delay", "0"]
    for number in range(2):
        make_photo(photo_dir / f"red_rose/new {number}.jpg", 1, 90 + number)
        night = ["--work-dir", f"machine {number}", "--date", f"2026-01-0{number + 1}"]
        done = subprocess.run(
            [*map(str, command), *night],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    out = output_store.local_folder(URL, tmp_path / "machine 1")
    first, second = history.nights(out)
    assert first.summary.endswith("promoted: the first model, with none to compare it with")
    assert (second.outcome, second.arrived) == (history.PROMOTED, 1)
    assert "1 computed, 49 reused" in done.stderr
    current = current_model.get(out)
    assert current
    assert current.name == second.model
    assert (out / "history.html").exists()
    assert objects.requests


def test_a_store_without_its_library_says_what_to_install(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "s3fs"
    blocked.mkdir()
    (blocked / "__init__.py").write_text("raise ImportError('no module named s3fs')")
    options = ["--image-dir", photo_dir, "--output-dir", URL, "--tfhub-module", tiny_module]
    words = [BIN / "luigi", "--module", "tasks", "ExportModel", *options, "--work-dir", tmp_path]
    done = subprocess.run(
        list(map(str, words)),
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    (error,) = (line for line in done.stderr.splitlines() if "s3fs" in line)
    assert "reading s3:// URLs needs a library; install it (pip install s3fs)" in error
    assert "Traceback" not in done.stderr


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    url = "s3://someone:secret@bucket/out"
    done = luigi("ExportModel", "--output-dir", url, "--work-dir", tmp_path)
    assert done.returncode != 0
    assert "secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
