"""The inpainter that is told the place fills exactly it, and stands beside an editor's removals."""

import pytest
import torch

from vivace.core.errors import InputError
from vivace.evaluation.inpainting import inpainted
from vivace.evaluation.local_fidelity import LocalRow
from vivace.evaluation.opencv import has_opencv


def a_gradient_with_a_box() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    clean = torch.arange(64, dtype=torch.uint8).mul(3).view(1, 1, 64, 1).expand(2, 48, 64, 3).contiguous()
    region = torch.zeros(2, 48, 64, dtype=torch.bool)
    region[0, 20:28, 10:18] = True
    region[1, 20:28, 40:48] = True
    return clean, torch.where(region[..., None], torch.tensor(255, dtype=torch.uint8), clean), region


def test_the_region_is_filled_from_its_rim_and_the_rest_stays() -> None:
    clean, boxed, region = a_gradient_with_a_box()
    if not has_opencv():
        with pytest.raises(InputError, match="needs OpenCV"):
            inpainted(boxed, region)
        return
    filled = inpainted(boxed, region)
    wide = torch.nn.functional.max_pool2d(region[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    assert filled.dtype == torch.uint8
    assert torch.equal(filled[~wide], boxed[~wide])
    error = (filled.float() - clean.float()).abs()[region]
    assert error.mean() < 10
    assert (boxed.float() - clean.float()).abs()[region].mean() > 100


def test_its_ratio_is_to_doing_nothing_and_absent_where_nothing_is_removed() -> None:
    def row(**told: float) -> LocalRow:
        return LocalRow(
            clip="clip", family="remove_ball", instruction="words", seed=0, num_frames=5, share=0.1,
            inside_edit=0.3, inside_source=0.5, outside_edit=None, outside_vae=None, **told,
        )  # fmt: skip

    assert row(inside_inpainted=0.2).inpainted_ratio == pytest.approx(0.4)
    assert row().inpainted_ratio is None
