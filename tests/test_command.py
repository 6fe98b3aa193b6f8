"""The `luigi` command, as a process, with files and a luigid."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pandas as pd
import pytest

from tests.support.commands import BIN, ROOT, Luigid, environment, luigi
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import slow_module
from tests.support.web import Web

pytestmark = pytest.mark.slow  # every test starts processes

GUIDE = ROOT / "docs/training.md"


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only error of a failed run."""
    assert done.returncode == 30
    assert "Traceback" not in done.stdout + done.stderr
    (error,) = errors(done)
    return error


def test_export_model_leads_to_a_model(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--image-dir", photo_dir, "--tfhub-module", tiny_module, "--output-dir", out)
    done = luigi("ExportModel", *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads((out / "current/evaluation.json").read_text())
    assert figures["top1"] == 1
    assert figures["count"] == 4
    assert "Warning" not in done.stderr
    assert f"The model is in {out}/current" in done.stderr
    again = luigi("ExportModel", *options)
    assert again.returncode == 0
    assert "Did not run any tasks" in again.stderr


def test_a_stage_runs_alone(photo_dir: Path, tmp_path: Path) -> None:
    done = luigi("SplitDataset", "--image-dir", photo_dir, "--output-dir", tmp_path / "out")
    assert done.returncode == 0
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["in-use.lock", "manifests", "timings.jsonl"]


def test_help_does_not_load_tensorflow() -> None:
    program = (
        "import sys, luigi.cmdline\n"
        "try:\n    luigi.cmdline.luigi_run(['--module', 'tasks', 'ExportModel', '--help'])\n"
        "except SystemExit:\n    print('loaded' if 'tensorflow' in sys.modules else 'not loaded')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert "--validation-percentage" in done.stdout
    assert done.stdout.splitlines()[-1] == "not loaded"


def test_no_such_folder(tiny_module: Path, tmp_path: Path) -> None:
    done = luigi(
        *("ExportModel", "--image-dir", tmp_path / "none", "--output-dir", tmp_path / "out"),
        *("--tfhub-module", tiny_module, "--learning-rate", "0.5"),
    )
    warning = "WARNING: learning_rate has no effect without --optimizer sgd\n"
    assert done.stderr.count(warning) == 1
    assert refused(done) == (
        f"image_dir: there is no folder {tmp_path}/none; set it to the folder that contains one "
        "folder of photos per class"
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = luigi(
        "SplitDataset", "--image-dir", tmp_path / "photos", "--output-dir", tmp_path / "out"
    )
    assert "contains no class folder" in refused(done)


def test_photos_directly_in_the_folder(tmp_path: Path, make_photo: PhotoMaker) -> None:
    make_photo(tmp_path / "photos/1.jpg")
    done = luigi(
        "SplitDataset", "--image-dir", tmp_path / "photos", "--output-dir", tmp_path / "out"
    )
    assert "contains 1 photos but no class folder" in refused(done)


def test_one_class_only(photo_dir: Path, tmp_path: Path) -> None:
    shutil.rmtree(photo_dir / "red_rose")
    done = luigi("SplitDataset", "--image-dir", photo_dir, "--output-dir", tmp_path / "out")
    assert "needs at least two" in refused(done)


def test_no_such_module(photo_dir: Path, tmp_path: Path) -> None:
    done = luigi(
        *("ExportModel", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--tfhub-module", "efficientnet-lite9"),
    )
    assert refused(done) == (
        "tfhub_module: efficientnet-lite9 is neither a built-in module nor a file or folder; did "
        "you mean efficientnet-lite2?"
    )


def test_a_handle_that_a_hub_does_not_know(web: Web, tmp_path: Path) -> None:
    handle = f"{web.url}/google/imagenet/inception_v4/feature_vector/1"
    done = luigi("PrepareModule", "--tfhub-module", handle, "--output-dir", tmp_path / "out")
    assert refused(done) == (
        f"tfhub_module: {handle}?tf-hub-format=compressed cannot be downloaded: the server "
        "answered 404 Not Found; check the address in a browser, or download the module manually "
        "and pass its folder"
    )


def test_without_test_photos_there_is_a_model_all_the_same(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    done = luigi(
        *("ExportModel", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--tfhub-module", tiny_module, "--testing-percentage", "0"),
    )
    assert done.returncode == 0, done.stderr
    assert "There are no test photos" in done.stderr
    figures = json.loads((tmp_path / "out/current/evaluation.json").read_text())
    assert (figures["top1"], figures["count"]) == (None, 0)


def test_an_error_that_nobody_expected_is_shown(photo_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = luigi("SplitDataset", "--image-dir", photo_dir, "--output-dir", tmp_path / "file/out")
    assert done.returncode == 30
    assert "NotADirectoryError" in done.stderr


def test_a_wrong_value_is_one_line(tmp_path: Path) -> None:
    done = luigi("SplitDataset", "--testing-percentage", "abc", "--output-dir", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--testing-percentage is 'abc'; it must be a number" in done.stderr


def test_an_impossible_value_is_one_line_before_any_work(photo_dir: Path, tmp_path: Path) -> None:
    options = ("--image-dir", photo_dir, "--output-dir", tmp_path / "out")
    done = luigi("ExportModel", *options, "--optimizer", "sgd", "--learning-rate", "0")
    assert done.returncode == 2
    assert done.stderr == "learning_rate is 0; it must be a positive number\n"
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_mistake_that_is_mended_is_forgotten_by_luigid(
    luigid: Luigid, photo_dir: Path, tmp_path: Path
) -> None:
    options = ("--image-dir", tmp_path / "later", "--output-dir", tmp_path / "out")
    for _ in range(3):
        assert luigi("SplitDataset", *options, "--scheduler-url", luigid.url).returncode == 30
    photo_dir.rename(tmp_path / "later")
    done = luigi("SplitDataset", *options, "--scheduler-url", luigid.url)
    assert done.returncode == 0, done.stderr


def test_impossible_percentages(photo_dir: Path, tmp_path: Path) -> None:
    done = luigi(
        *("SplitDataset", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--testing-percentage", "95"),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "validation_percentage is 10 and testing_percentage is 95" in done.stderr
    assert not (tmp_path / "out").exists()


def test_distortions_without_copies_are_a_mistake(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    done = luigi(
        *("ExportModel", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--tfhub-module", tiny_module, "--flip-left-right"),
    )
    assert "augmentations is 0; set it to the number" in done.stderr
    assert done.returncode == 2


def test_bad_photos_are_set_aside_and_named_and_the_run_goes_on(
    photo_dir: Path, tiny_module: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    rose = photo_dir / "red_rose"
    (rose / "fake.jpg").write_text("<html>not a photo</html>")
    (rose / "cut.jpg").write_bytes((rose / "0.jpg").read_bytes()[:700])
    (photo_dir / "weeds").mkdir()
    (photo_dir / "weeds/empty.jpg").touch()
    make_photo(photo_dir / "stray.jpg")
    done = luigi(
        *("ExportModel", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--tfhub-module", tiny_module),
    )
    assert done.returncode == 0, done.stderr
    assert "Set aside: red_rose/fake.jpg: web page instead of a photo" in done.stderr
    assert "Set aside: red_rose/cut.jpg: truncated JPEG" in done.stderr
    assert "Set aside: weeds/empty.jpg: empty file" in done.stderr
    assert "Class 'weeds' has no usable photo" in done.stderr
    assert "1 photos are directly in" in done.stderr
    labels = (tmp_path / "out/current/output_labels.txt").read_text().splitlines()
    assert labels == ["green leaf", "red_rose"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[head]\nl2 = much", "luigi.cfg: [head] l2 is 'much'; it must be a number"),
        ("[haed]\nl2 = 1", "there is no section [haed]; did you mean [head]?"),
        ("[data]\nimage_dir = 50% off", "[data] image_dir: write a % sign as %%"),
        ("[head]\nclas_weighting = none", "has no option clas_weighting; did you mean class_w"),
        ("[bottlenecks]\nprecision = float8", "choose from auto, float32, bfloat16"),
    ],
)
def test_a_mistake_in_luigi_cfg_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "luigi.cfg").write_text(text)
    done = luigi("ExportModel", "--help", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_options_come_from_luigi_cfg_and_the_command_line_overrules_them(
    photo_dir: Path, tmp_path: Path
) -> None:
    settings = f"[data]\nimage_dir = {photo_dir}\noutput_dir = here\ntesting_percentage = 95\n"
    (tmp_path / "luigi.cfg").write_text(settings + "[core]\nlocal_scheduler = true\n")
    assert "testing_percentage is 95" in luigi("SplitDataset", cwd=tmp_path).stderr
    luigi("SplitDataset", "--testing-percentage", "20", cwd=tmp_path)
    assert len(list((tmp_path / "here/manifests").iterdir())) == 1


def test_a_failure_has_its_exit_code_in_a_folder_without_luigi_cfg(
    photo_dir: Path, tmp_path: Path
) -> None:
    options = ("SplitDataset", "--output-dir", tmp_path / "out", "--image-dir")
    done = luigi(*options, tmp_path / "none", cwd=tmp_path)
    assert f"there is no folder {tmp_path}/none" in refused(done)
    assert f"INFO: No luigi.cfg in {tmp_path}: defaults" in done.stderr
    (tmp_path / "luigi.cfg").write_text("[core]\nlog_level = INFO\n")
    done = luigi(*options, photo_dir, cwd=tmp_path)
    assert done.returncode == 0
    assert f"INFO: Options from {tmp_path}/luigi.cfg" in done.stderr


def test_python_runs_a_task_too_and_checks_luigi_cfg_first(tmp_path: Path) -> None:
    (tmp_path / "luigi.cfg").write_text("[data]\n[data]\n")
    command = [sys.executable, "-m", "tasks", "SplitDataset", "--help"]
    done, helped = (
        subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)
        for cwd in (tmp_path, ROOT)
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "luigi.cfg, line 2: there is a section [data] above" in done.stderr
    assert helped.returncode == 0
    assert "--validation-percentage" in helped.stdout


def test_luigid_on_this_machine_is_reached_without_a_proxy(
    luigid: Luigid, photo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    options = ("--image-dir", photo_dir, "--output-dir", tmp_path / "out")
    done = luigi("SplitDataset", *options, "--scheduler-url", luigid.url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")]
)
def test_an_interrupted_run_says_how_to_go_on(
    number: signal.Signals, word: str, photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    command = [BIN / "luigi", "--module", "tasks", "ExportModel", "--image-dir", photo_dir]
    command += ["--tfhub-module", tiny_module, "--output-dir", tmp_path / "out"]
    run = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A process in the background, such as these tests, may ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("out/manifests/[!.]*.parquet")):
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(number)
    _, output = run.communicate()
    assert run.returncode != 0
    assert f"{word}. Finished work is kept" in output
    assert "Traceback" not in output


def test_a_killed_run_loses_little_and_ends_as_an_uninterrupted_one(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    for seed in range(768):
        make_photo(tmp_path / "photos" / str(seed % 3) / f"{seed}.jpg", seed % 3, seed)
    module = slow_module(tmp_path / "module")
    options = ["ComputeBottlenecks", "--image-dir", tmp_path / "photos"]
    options += ["--tfhub-module", module, "--output-dir"]
    command = [BIN / "luigi", "--module", "tasks", *options, tmp_path / "killed"]
    run = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("killed/bottlenecks/*/partial/[!.]*.parquet")):
        assert run.poll() is None
        time.sleep(0.02)
    run.kill()
    run.wait()
    assert not list(tmp_path.glob("killed/bottlenecks/*/[012]-*"))

    again = luigi(*options, tmp_path / "killed")
    counts = re.search(r"Bottlenecks: (\d+) computed, (\d+) reused", again.stderr)
    assert counts
    assert int(counts[2]) >= 256
    assert int(counts[1]) + int(counts[2]) == 768

    luigi(*options, tmp_path / "whole")
    for label in "012":
        killed, whole = (
            pd.concat(pd.read_parquet(d) for d in tmp_path.glob(f"{out}/bottlenecks/*/{label}-*"))
            for out in ("killed", "whole")
        )
        pd.testing.assert_frame_equal(killed, whole)


def test_a_running_luigid_is_used_when_asked(
    luigid: Luigid, photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    done = luigi(
        *("ExportModel", "--image-dir", photo_dir, "--output-dir", tmp_path / "out"),
        *("--tfhub-module", tiny_module, "--scheduler-url", luigid.url),
    )
    assert done.returncode == 0, done.stderr
    query = urllib.parse.urlencode({"data": json.dumps({"status": "DONE"})})
    with urllib.request.urlopen(f"{luigid.url}/api/task_list?{query}") as answer:
        tasks = json.load(answer)["response"].values()
    assert {"ExportModel", "TrainHead", "ComputeBottlenecks"} <= {task["name"] for task in tasks}
    messages = [task["status_message"] for task in tasks if task["name"] == "ComputeBottlenecks"]
    assert any("48 of 48 photos processed by the module" in str(message) for message in messages)


def test_predict_images_writes_a_table_and_names_bad_photos(
    colours: Path, photo_dir: Path, tmp_path: Path
) -> None:
    (photo_dir / "note.jpg").write_text("no photo")
    options = ("--images", photo_dir, "--model", colours, "--output-dir", tmp_path / "out")
    done = luigi("PredictImages", *options)
    assert done.returncode == 0, done.stderr
    assert f"No prediction: {photo_dir}/note.jpg: not a readable image" in done.stderr
    assert "Predictions: 48 of 49 photos" in done.stderr
    (table,) = tmp_path.glob("out/predictions/*/predictions.csv")
    best = pd.read_csv(table).set_index("path")["label_1"]
    assert best[f"{photo_dir}/red_rose/3.jpg"] == "green"  # the colour of that photo
    assert "Did not run any tasks" in luigi("PredictImages", *options).stderr


def test_predict_images_without_photos_or_model_says_so(
    colours: Path, photo_dir: Path, tmp_path: Path
) -> None:
    out = ("--output-dir", tmp_path / "out")
    nothing = luigi("PredictImages", "--images", tmp_path / "none", "--model", colours, *out)
    assert "images: no photos at" in refused(nothing)
    assert "there is no model in" in refused(luigi("PredictImages", "--images", photo_dir, *out))


def test_predict_images_does_not_create_a_mistyped_output_folder(
    photo_dir: Path, tmp_path: Path
) -> None:
    done = luigi("PredictImages", "--images", photo_dir, "--output-dir", tmp_path / "typo")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert f"there is no folder {tmp_path}/typo" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_an_unknown_kind_of_tflite_is_one_line(tmp_path: Path) -> None:
    done = luigi("ExportModel", "--tflite", "int4", "--output-dir", tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "tflite is 'int4'; choose none, or any of float32, float16, int8" in done.stderr


def test_make_stops_where_luigi_cfg_does_not_say_where_results_are(tmp_path: Path) -> None:
    """Otherwise, `make pages` would serve the root folder."""
    (tmp_path / "luigi.cfg").write_text("[data]\nvalidation_percentage = abc\n")
    settings = environment() | {"LUIGI_CONFIG_PATH": str(tmp_path / "luigi.cfg")}
    command = ["make", "--no-print-directory", "--assume-old=setup", "report"]
    ended = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "validation_percentage is 'abc'; it must be a number" in ended.stderr
    assert "No model in" not in ended.stdout


def test_training_works_without_the_packages_of_the_extras(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    extras = ("prometheus_client", "sqlalchemy", "tensorboard", "tensorboardX", "tensorflow_hub")
    words = ["--module", "tasks", "ExportModel", "--image-dir", str(photo_dir)]
    words += ["--tfhub-module", str(tiny_module), "--output-dir", str(tmp_path / "out")]
    program = (
        "import importlib.metadata, sys\n"
        f"sys.modules.update(dict.fromkeys({extras}))\n"
        "def version(name, installed=importlib.metadata.version):\n"
        f"    if name.replace('-', '_') in {extras}:\n"
        "        raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return installed(name)\n"
        "importlib.metadata.version = version\n"
        f"import luigi.cmdline\nluigi.cmdline.luigi_run({words})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/current/model.json").exists()


def test_training_works_without_what_only_linux_has(
    photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    words = ["--module", "tasks", "ExportModel", "--image-dir", str(photo_dir)]
    words += ["--tfhub-module", str(tiny_module), "--output-dir", str(tmp_path / "out")]
    program = (
        "import fcntl, multiprocessing, os, sys\n"
        "def no_proc(path, *rest, real=os.readlink, **options):\n"
        "    refuse('open', (path,))\n"
        "    return real(path, *rest, **options)\n"
        "def refuse(event, values):\n"
        "    if event == 'open' and str(values[0]).startswith('/proc/'):\n"
        "        raise FileNotFoundError(values[0])\n"
        "if __name__ == '__main__':\n"
        "    for name in ('copy_file_range', 'posix_fadvise', 'posix_fallocate',\n"
        "                 'sched_getaffinity', 'sched_setaffinity'):\n"
        "        delattr(os, name)\n"
        "    os.readlink = no_proc\n"
        "    sys.addaudithook(refuse)\n"
        "    multiprocessing.set_start_method('spawn')\n"
        f"    import luigi.cmdline\n    luigi.cmdline.luigi_run({words})\n"
    )
    (tmp_path / "macos.py").write_text(program)
    command = [sys.executable, str(tmp_path / "macos.py")]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/current/model.json").exists()


def test_a_mistyped_make_variable_stops_with_the_nearest_one() -> None:
    command = ["make", "--no-print-directory", "--assume-old=setup", "train", "IMAGEDIR=my photos"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "there is no variable IMAGEDIR; did you mean IMAGE_DIR?" in ended.stderr


def test_an_option_is_quoted_as_the_guide_says() -> None:
    (words,) = re.findall(r"make (train .*--merge-labels.*)", GUIDE.read_text())
    shell = f"make --no-print-directory --dry-run --assume-old=setup {words} OUTPUT_DIR=out"
    shown = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert '{"apple": "Apple"}' in shlex.split(shown.stdout)


@pytest.mark.parametrize("target", ["report", "pages"])
def test_make_names_an_output_folder_that_does_not_exist(target: str, tmp_path: Path) -> None:
    typo = tmp_path / "typo"
    command = ["make", "--assume-old=setup", target, f"OUTPUT_DIR={typo}", "BIN=none"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"There is no folder {typo}" in ended.stdout
    assert not typo.exists()


@pytest.mark.parametrize("target", ["luigid", "tensorboard", "pages"])
def test_make_names_a_port_that_cannot_be_used(target: str, tmp_path: Path) -> None:
    command = ["make", "--no-print-directory", "--assume-old=setup", target, f"BIN={BIN}"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command += [f"PORT={port}", f"OUTPUT_DIR={tmp_path}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"port {port} cannot be used: " in done.stderr
    assert "Traceback" not in done.stderr


def test_luigid_without_its_extra_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(shutil.which("false") or "")
    command = ["make", "--no-print-directory", "--assume-old=setup", "luigid", f"BIN={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == (
        "luigi.cfg: record_task_history and metrics_collector need SQLAlchemy and "
        "prometheus-client; install them with: pip install 'retrain[luigid]'\n"
    )
