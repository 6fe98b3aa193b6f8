"""The command line: mistakes end with one line. test_command.py tests the commands."""

import os
from pathlib import Path

import pytest
from luigi import lock

from tasks import configuration


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TrainHead", "--l3", "1"], "there is no option --l3; did you mean --l2?"),
        (["TrainHead", "--l3=1"], "there is no option --l3; did you mean --l2?"),
        (["TrainHead", "--image-d", "x"], "there is no option --image-d; did you mean --image-dir"),
        (["TrainHead", "--l"], "there is no option --l; did you mean --l2?"),
        (["TrainHead", "--xyzzy"], "there is no option --xyzzy\n"),
        (["TrainHead", "--l2"], "--l2: expected one argument\n"),
        (["TrainHead", "--image-dir", "my", "photos"], "unexpected argument 'photos'; quote"),
        (["ExportModel", "--fine-tune-epoch"], "did you mean --fine-tune-epochs?"),
        (
            ["ExportModel", "--keep", "3"],
            "ExportModel has no option --keep; it is an option of",
        ),
        (
            ["SplitDataset", "--onxx"],
            "there is no option --onxx; did you mean --onnx, an option",
        ),
        (["TrainHead", "--fine-tune-epochs", "two"], "--fine-tune-epochs is 'two'; it must be a w"),
        (["TrainHead", "--l2", "-1"], "l2 is -1; it must be 0, to choose it automatically"),
        (["NightlyRetrain", "--date", "x"], "--date is 'x'; it must be a date, such as 2026-01-31"),
        (["TrainHead", "--workers", "two"], "--workers is 'two'; it must be a whole number"),
        (["TrainHead", "--workers", "0"], "--workers is 0; it must be at least 1"),
        (["TrainHead", "--worker-ping-interval", "x"], "val is 'x'; it must be a number"),
        (["TrainHead", "--worker-task-limit", "x"], "limit is 'x'; it must be a whole number"),
        (
            ["TrainHead", "--worker-max-keep-alive-idle-duration", "x"],
            "duration is 'x'; it must be a duration, such as 30 seconds",
        ),
        (["TrainHead", "--logging-conf-file", "x"], "file: there is no file x; correct the path"),
        (["TrainHead", "--log-level", "LOUD"], "--log-level is 'LOUD'; choose from CRITICAL, "),
        (["TranHead"], "there is no task TranHead; did you mean TrainHead?"),
        (["trainhead"], "there is no task trainhead; did you mean TrainHead?"),
        (["Nonsense"], "there is no task Nonsense; choose from CheckData, ComputeBottlenecks, "),
    ],
)
def test_a_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        configuration.parse_task(["--module", "tasks", *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error


def test_a_command_that_is_running_already_is_named_with_the_remedy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lock.acquire_for(str(tmp_path / "locks"))
    assert capfd.readouterr() == ("", "")
    assert not lock.acquire_for(str(tmp_path / "locks"))
    assert capfd.readouterr() == (
        "",
        f"the same command is already running in {Path.cwd()} (process {os.getpid()}); wait until "
        f"it ends, or end it with: kill {os.getpid()}\n",
    )
