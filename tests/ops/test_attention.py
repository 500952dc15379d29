import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from vivace.ops.attention import attend


@pytest.mark.parametrize("is_masked", [False, True])
def test_bf16_on_a_cpu_stays_close_to_the_definition(is_masked):
    query, key, value = torch.randn(3, 2, 3, 7, 8).bfloat16()
    mask = torch.zeros(2, 1, 1, 7)
    mask[:, :, :, 4:] = float("-inf")
    expected = scaled_dot_product_attention(
        query.double(), key.double(), value.double(), attn_mask=mask.double() if is_masked else None
    )
    ours = attend(query, key, value, mask.bfloat16() if is_masked else None)
    assert ours.dtype == torch.bfloat16
    assert (ours - expected).norm() / expected.norm() < 1e-2
