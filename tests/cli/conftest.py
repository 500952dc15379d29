"""A random model, a small clip, and the command line called in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from small_clips import write_clip
from toy_model import write_toy_model
from vivace.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])

    @property
    def sentence(self) -> str:
        """What a user reads after bad input: exactly one line."""
        assert self.code == 2
        assert "Traceback" not in self.err
        (line,) = self.err.strip().splitlines()
        return line


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Call `vivace` with these words."""

    def call(*words: object) -> Outcome:
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)


@pytest.fixture
def edit(run: Run, toy_folder: Path) -> Run:
    """Call `vivace edit INPUT -o OUT` with the random model, one thread and JSON."""
    common = ("--model", toy_folder, "--threads", 1, "--precision", "fp32", "--json", "--quiet")

    def call(source: object, output: object, *words: object, prompt: str = "make it snow") -> Outcome:
        return run("edit", *common, source, "-p", prompt, "-o", output, *words)

    return call


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 frames at 25 frames per second, with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", [40 * i for i in range(13)])
