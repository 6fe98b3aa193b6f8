"""Commands for make: the shell and make pass every value on unchanged."""

import shlex

from pipeline.files import make


def test_every_word_survives_the_shell() -> None:
    options = {"tfhub_module": "my module", "class_weights": '{"a": 2}', "l2": 0.0}
    words = shlex.split(make.command("train", "IMAGE_DIR=my photos", options=options))
    assert words[:3] == ["make", "train", "IMAGE_DIR=my photos"]
    assert shlex.split(words[3].removeprefix("OPTIONS=")) == [
        *("--tfhub-module", "my module", "--class-weights", '{"a": 2}', "--l2", "0.0")
    ]


def test_without_options_there_is_no_variable_for_them() -> None:
    assert make.command("review", options={}) == "make review"
