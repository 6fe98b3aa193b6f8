"""Several processes on one output folder: the results are those of a single run."""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.nightly import history
from tests.support.commands import ROOT, Luigid, luigi
from tests.support.photos import PhotoMaker
from tests.support.processes import (
    TIMEOUT_S,
    Pipeline,
    Watch,
    add_night,
    fresh,
    journals,
    kill,
    results,
    table,
    temporaries,
)

ACCEPTED = {0, 10, 25}  # exit codes of a worker: all done, or another one works on the rest
FREE_LOCK = "--no-lock"  # otherwise, Luigi rejects a second identical command


def several(pipeline: Pipeline, count: int) -> list[Pipeline]:
    """Return copies of the pipeline for several processes, each with its own log."""
    logs = [pipeline.log.with_name(f"log {number}") for number in range(count)]
    return [replace(pipeline, log=log) for log in logs]


def together(
    pipelines: list[Pipeline], out: Path, *options: tuple[object, ...], offset: float = 0
) -> list[int]:
    """Start all pipelines, `offset` seconds apart, and return their exit codes.

    Each may take TIMEOUT_S.
    """
    running = list[subprocess.Popen[str]]()
    try:
        for pipeline, of in zip(pipelines, options, strict=True):
            running.append(pipeline.start(out, FREE_LOCK, *of))
            if len(running) < len(pipelines):
                time.sleep(offset)
        return [process.wait(TIMEOUT_S) for process in running]
    finally:
        for process in running:
            kill(process)


def output(pipelines: list[Pipeline]) -> str:
    """Return the logs; check that they contain no traceback and report no damage."""
    text = "\n".join(pipeline.output() for pipeline in pipelines)
    assert "Traceback" not in text, text
    assert "amaged and deleted" not in text, text
    return text


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Luigid]:
    """Start luigid with the luigi.cfg of this project, like `make luigid`."""
    home = tmp_path / "home"
    (home / "data/luigid").mkdir(parents=True)
    shutil.copy(ROOT / "luigi.cfg", home)
    luigid = Luigid(home)
    luigid.start()
    yield luigid
    luigid.stop()


def has_tensorflow(pid: int) -> bool:
    """Return whether a process exists and has loaded TensorFlow."""
    try:
        return "libtensorflow" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


@pytest.mark.slow
def test_four_workers_lead_where_one_does_and_tensorflow_is_not_forked(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    add_night(pipeline.image_dir, make_photo)
    assert pipeline.run(tmp_path / "one").returncode == 0
    process = pipeline.start(tmp_path / "four", "--workers", 4)
    parent, forked, end = False, False, time.monotonic() + TIMEOUT_S
    try:
        while process.poll() is None:
            assert time.monotonic() < end
            parent |= has_tensorflow(process.pid)
            forked |= any(map(has_tensorflow, children(process.pid)))
            time.sleep(0.05)
    finally:
        kill(process)
    assert process.returncode == 0, pipeline.output()
    assert (parent, forked) == (False, True)
    assert results(tmp_path / "four") == results(tmp_path / "one")
    assert temporaries(tmp_path / "four") == []


@pytest.mark.torture
def test_three_workers_on_one_luigid_do_each_step_once(
    pipeline: Pipeline, scheduler: Luigid, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    add_night(pipeline.image_dir, make_photo)
    assert pipeline.run(tmp_path / "one").returncode == 0
    out, options, steps = tmp_path / "three", ("--scheduler-url", scheduler.url), Counter[str]()
    three, codes, rounds = several(pipeline, 3), list[int](), 0
    while 0 not in codes:  # workers that find no work left exit: see docs/reliability.md
        assert rounds < 10
        codes, rounds = together(three, out, *[options] * 3), rounds + 1
        assert set(codes) <= ACCEPTED
        steps.update(line.split()[1] for line in output(three).splitlines() if " took " in line)
    print(f"\nThree workers on one luigid: complete in round {rounds}, {dict(steps)}")
    assert set(steps.values()) == {1}
    assert results(out) == results(tmp_path / "one")
    assert temporaries(out) == []


@pytest.mark.slow
def test_a_run_after_another_gets_its_work_from_luigid(
    pipeline: Pipeline, scheduler: Luigid, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    options = ("--scheduler-url", scheduler.url)
    assert pipeline.run(tmp_path / "out", *options).returncode == 0
    for label in ("green leaf", "red_rose"):  # both classes, as a batch of the same name
        make_photo(pipeline.image_dir / label / "new.jpg", 2, 99)
    again = pipeline.run(tmp_path / "out", *options)
    assert again.returncode == 0, again.stderr


@pytest.mark.torture
def test_what_a_killed_worker_had_is_given_to_another(
    pipeline: Pipeline, scheduler: Luigid, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    add_night(pipeline.image_dir, make_photo)
    assert pipeline.run(tmp_path / "one").returncode == 0
    out, options = tmp_path / "out", ("--scheduler-url", scheduler.url)
    process = pipeline.start(out, *options)
    while "PrepareModule took" not in pipeline.output():
        time.sleep(0.05)
    kill(process)
    start, code = time.monotonic(), None
    while code != 0:
        assert time.monotonic() < start + TIMEOUT_S
        assert code in {None} | ACCEPTED
        code = pipeline.run(out, *options).returncode
    print(f"\nluigid gave a killed worker's task away after {time.monotonic() - start:.0f} s")
    assert results(out) == results(tmp_path / "one")


def two_at_offsets(
    trials: int, seed: int, pipeline: Pipeline, make_photo: PhotoMaker, scratch: Path
) -> list[tuple[object, ...]]:
    """Run two pipelines on an empty or existing folder; return a row per trial."""
    generator, rows, before = random.Random(seed), list[tuple[object, ...]](), scratch / "before"
    if trials > 1:
        assert pipeline.run(before).returncode == 0
    add_night(pipeline.image_dir, make_photo)
    alone = dict[bool, Path]()  # results of a single run, by whether the folder existed
    for number in range(trials):
        last, out = bool(number % 2), scratch / "out"
        if last not in alone:
            alone[last] = fresh(scratch / f"alone {number}", before if last else None)
            start = time.monotonic()
            assert pipeline.run(alone[last]).returncode == 0
            seconds = time.monotonic() - start
        fresh(out, before if last else None)
        # In every second pair of trials, almost at once, so that both do the same step.
        offset = generator.random() * (0.2 if number % 4 < 2 else seconds)
        two = several(pipeline, 2)
        with Watch(out) as watch:
            assert together(two, out, (), (), offset=offset) == [0, 0], output(two)
        output(two)
        assert results(out) == results(alone[last])
        assert temporaries(out) == []
        assert watch.failures == []
        assert len(history.promotions(out)) == len(history.promotions(alone[last]))
        rows.append((last, f"{offset:.2f}", watch.reads, len(journals(out))))
    return rows


@pytest.mark.slow
def test_two_pipelines_on_one_folder_lead_where_one_does(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    assert two_at_offsets(1, 1, pipeline, make_photo, tmp_path)


@pytest.mark.torture
def test_two_pipelines_at_twenty_offsets(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    trials, seed = int(os.environ.get("PAIRS", "20")), int(os.environ.get("SEED", "1"))
    rows = two_at_offsets(trials, seed, pipeline, make_photo, tmp_path)
    head = ("from last night's folder", "offset, s", "`current` read", "journals left")
    table(f"Two pipelines on one folder: {trials} trials, each ended as one run", head, rows)


@pytest.mark.torture
def test_two_pipelines_with_other_settings_agree_on_the_current_model(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    out, two = tmp_path / "out", several(pipeline, 2)
    assert together(two, out, ("--l2", 0.1), ("--l2", 0.01)) == [0, 0], output(two)
    output(two)
    models = sorted(out.glob("models/*"))
    assert len(models) == 2
    assert (out / "current").resolve() == out / "models" / history.promotions(out)[-1].model
    newest = max((out / "serving").iterdir(), key=lambda version: int(version.name))
    of_current = out / "current/saved_model/saved_model.pb"
    assert (newest / "saved_model.pb").samefile(of_current)


@pytest.mark.torture
def test_pruning_beside_a_run_disturbs_it_in_nothing(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert pipeline.run(out).returncode == 0
    for path in out.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)  # old enough to be deleted
    add_night(pipeline.image_dir, make_photo)
    process, codes = pipeline.start(out), Counter[int]()
    try:
        while process.poll() is None:
            codes[luigi("PruneRuns", "--output-dir", out, "--delete", "--keep", 1).returncode] += 1
    finally:
        kill(process)
    assert process.returncode == 0, pipeline.output()
    assert set(codes) <= {0, 30}
    print(f"\nPruned beside a run: {codes[0]} times, refused {codes[30]} times")
    assert pipeline.run(out).returncode == 0
