"""A random model folder and the editor in it."""

from pathlib import Path

import pytest

from toy_model import write_toy_model
from vivace.catalog.editor import Editor, open_editor


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def toy_editor(toy_folder: Path) -> Editor:
    return open_editor(toy_folder, device="cpu", dtype="fp32")
