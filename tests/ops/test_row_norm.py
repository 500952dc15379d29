import pytest
import torch

from vivace.ops.row_norm import modulated_norm


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_one_modulation_for_all_frames_equals_one_for_each(dtype, limit):
    x = torch.randn(1, 3, 5, 16).to(dtype)
    shift, scale = torch.randn(2, 1, 1, 1, 16).to(dtype)
    alike = modulated_norm(x, shift, scale)
    each = modulated_norm(x.double(), shift.expand(1, 3, 1, 16).double(), scale.expand(1, 3, 1, 16).double())
    assert alike.dtype == dtype
    assert (alike - each).norm() / each.norm() < limit
