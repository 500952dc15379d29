"""A random editor, a random perceptual distance and a clip in memory."""

from collections.abc import Iterator

import pytest
import torch

from toy_model import write_toy_model
from vivace.catalog.editor import Editor, open_editor
from vivace.evaluation.footage import EvaluationClip
from vivace.models.perceptual import Lpips


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """The networks are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return open_editor(write_toy_model(tmp_path_factory.mktemp("toy")), device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def lpips() -> Lpips:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Lpips()


@pytest.fixture(scope="session")
def clip() -> EvaluationClip:
    """Ten frames of smooth colours that move to the right by two pixels a frame."""
    coarse = torch.rand(1, 3, 6, 12, generator=torch.Generator().manual_seed(3))
    wide = torch.nn.functional.interpolate(coarse, size=(48, 96), mode="bicubic").clamp(0, 1)
    frames = [wide[0, :, :, 20 - 2 * i : 84 - 2 * i] for i in range(10)]
    return EvaluationClip("moving", (torch.stack(frames) * 255).byte().permute(0, 2, 3, 1).contiguous())
