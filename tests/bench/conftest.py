"""An editor with a random model."""

import pytest

from toy_model import write_toy_model
from vivace.catalog.editor import Editor, open_editor


@pytest.fixture(scope="session")
def toy_editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return open_editor(write_toy_model(tmp_path_factory.mktemp("toy")), device="cpu", dtype="fp32")
