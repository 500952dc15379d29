"""An editor with a random model, a clock that tests turn, and a session without an engine."""

from pathlib import Path

import pytest
import torch

from toy_model import write_toy_model
from vivace.catalog.editor import Editor, open_editor


class Clock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_editor(toy_folder: Path) -> Editor:
    return open_editor(toy_folder, device="cpu", dtype="fp32")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """The number of threads changes the last bits; every fixture of a module must see the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
