import subprocess
import sys

import pytest

from vivace.core.errors import ConfigError, InputError
from vivace.core.exit_code import exit_code_of


def failing(error: BaseException):
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("got 3, expected 4"), 2, "thing: got 3, expected 4\n"),
        (ConfigError("no such setting"), 2, "thing: no such setting\n"),
        (
            FileExistsError(17, "File exists", "a/b"),
            2,
            "thing: got a/b, which cannot be used (file exists); name another path\n",
        ),
        (KeyboardInterrupt(), 130, "thing: interrupted\n"),
    ],
)
def test_what_was_raised_on_purpose_is_one_sentence_and_a_code(error, code, words, capsys):
    assert exit_code_of(failing(error), "thing") == code
    assert capsys.readouterr().err == words


def test_codes_pass_through_and_faults_keep_their_traceback():
    assert exit_code_of(lambda: None) == 0
    assert exit_code_of(lambda: 3) == 3
    for fault in (ZeroDivisionError(), ConnectionResetError()):
        with pytest.raises(type(fault)):
            exit_code_of(failing(fault))


@pytest.mark.parametrize(
    "options", [["causal", "--device", "gpu7"], ["causal"], ["objects", "--device", "cpu"]]
)
def test_a_recipe_with_bad_input_says_one_sentence(options, tmp_path):
    folders = ["--clips", "none", "--vae", "none", "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "vivace.recipes.tiny_edit", *options, *folders]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"CUDA_VISIBLE_DEVICES": ""}, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tiny_edit: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
