"""Fixtures that several rooms share."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent / "golden"
BESIDE_CHECKOUT = Path(__file__).parents[2] / "shared" / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-minutes", type=float, default=30.0, help="how long the soak of live sessions lasts"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def golden():
    """Load golden numbers by name; skips where a large file is not beside the checkout."""

    def load(name: str) -> dict[str, torch.Tensor]:
        for folder in (HERE, BESIDE_CHECKOUT):
            if (folder / f"{name}.safetensors").is_file():
                return load_file(folder / f"{name}.safetensors")
        pytest.skip(f"{name} is not shipped; see tests/golden/README.md")

    return load


@pytest.fixture(scope="session")
def gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 2 at toy size, as transformers writes it."""
    pytest.importorskip("transformers")
    from tiny_sana import write_gemma

    return write_gemma(tmp_path_factory.mktemp("gemma"))
