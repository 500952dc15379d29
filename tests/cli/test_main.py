"""The command line as a whole: help, version, unknown words, exit codes, quick starts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vivace
from vivace.cli.arguments import RunOptions
from vivace.cli.main import COMMANDS, main

HELP = Path(__file__).parent / "help"
WIDTH = "100"


def words_of(text: str) -> list[str]:
    """The words without frames, usage line and titles of groups, which change with tyro's versions."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace(RunOptions.__doc__ or "", "").split("\n\n", 1)[-1]
    return re.sub(r"[\u2500-\u257f]", " ", plain).split()


@pytest.mark.parametrize("name", ["overview", *COMMANDS])
def test_help_says_what_it_is_known_to_say(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", WIDTH)
    shown = run("--help") if name == "overview" else run(*name.split(), "--help")
    assert shown.code == 0
    known = HELP / f"{name.replace(' ', '-')}.txt"
    assert words_of(shown.out) == words_of(known.read_text(encoding="utf-8"))


def test_every_help_text_has_a_command_and_every_command_an_example():
    assert {path.stem.replace("-", " ") for path in HELP.iterdir()} == {"overview", *COMMANDS}
    for name in COMMANDS:
        assert f"\n  vivace {name}" in COMMANDS[name].description


def test_the_version_is_that_of_the_package(run):
    assert run("--version").out == f"vivace {vivace.__version__}\n"


def test_no_words_show_the_overview_and_fail(run):
    outcome = run()
    assert outcome.code == 2
    assert outcome.out == run("help").out


def test_an_unknown_command_is_one_sentence_with_a_guess(run):
    assert run("edti").sentence == "vivace: unknown command 'edti'; did you mean edit?"
    assert "expected one of edit, demo" in run("qqq").sentence


@pytest.mark.parametrize(
    "words", [("edit", "in.mp4"), ("edit", "a", "b"), ("info",), ("bench", "--stepz"), ("models", "x")]
)
def test_wrong_arguments_exit_with_2_and_say_which(run, words):
    outcome = run(*words)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert f"vivace {words[0]} --help" in " ".join(words_of(outcome.err))


def test_an_interruption_before_the_work_exits_with_130(run, monkeypatch, clip):
    def interrupt(arguments) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("vivace.cli.show.show_info", interrupt)
    assert run("info", clip).code == 130


def test_an_error_that_is_no_ones_fault_keeps_its_traceback(monkeypatch, clip):
    def fail(arguments) -> int:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr("vivace.cli.show.show_info", fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        main(["info", str(clip)])


QUICK = """
import sys, time
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("triton", "transformers"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
started = time.perf_counter()
import vivace
elapsed = time.perf_counter() - started
assert "torch" not in sys.modules
assert elapsed < 0.3, elapsed
from vivace.cli.main import main
assert main(["edit", "--help"]) == 0
assert "torch" not in sys.modules
vivace.open_editor
assert "torch" in sys.modules
"""


def test_import_and_help_are_quick_and_need_neither_torch_nor_triton_nor_transformers():
    subprocess.run([sys.executable, "-c", QUICK], check=True, capture_output=True)


def test_the_package_runs_as_a_module():
    shown = subprocess.run(
        [sys.executable, "-m", "vivace", "--version"], check=True, capture_output=True, text=True
    )
    assert shown.stdout == f"vivace {vivace.__version__}\n"
