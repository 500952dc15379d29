"""Fixtures that several rooms share."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent / "golden"
BESIDE_CHECKOUT = Path(__file__).parents[2] / "shared" / "golden"


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
