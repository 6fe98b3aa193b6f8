"""The command line: mistakes end with one line. test_command.py tests the commands."""

import pytest

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
        (["TranHead"], "there is no task TranHead; did you mean TrainHead?"),
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
