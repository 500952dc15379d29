import pytest
import torch
import torch.nn.functional as F

from vivace.layers.packed import MAX_PACKED_SHAPES, PackedConv, PackedLinear, can_pack

pytestmark = pytest.mark.skipif(
    not can_pack(PackedConv, torch.float32), reason="this build of torch has no oneDNN"
)


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (2, 3, 3), (3, 5, 1)])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_it_is_the_convolution_with_what_surrounds_it(kernel, dtype, limit):
    if not can_pack(PackedConv, dtype):
        pytest.skip("this CPU does not multiply bf16")
    torch.manual_seed(0)
    weight, bias = torch.randn(7, 5, *kernel).to(dtype), torch.randn(7).to(dtype)
    conv = PackedConv(weight, bias)
    # of several sizes, and channels first
    for height, width in ((4, 6), (1, 1), (7, 3)):
        x = torch.randn(2, 5, 4, height, width).to(dtype)
        padding = 0, kernel[1] // 2, kernel[2] // 2
        expected = F.conv3d(x.float(), weight.float(), bias.float(), padding=padding)
        sum_ = torch.randn_like(expected).to(dtype)
        expected_sum = expected + sum_.float()
        before = x.clone()
        with torch.inference_mode():
            results = conv(x), conv(x, has_silu=True), conv.add_to_(sum_, x)
        for ours, wanted in zip(results, (expected, F.silu(expected), expected_sum), strict=True):
            assert ours.dtype == dtype
            assert (ours.float() - wanted).abs().max() < limit * wanted.abs().max()
        assert torch.equal(x, before)


def test_few_layouts_are_kept():
    conv = PackedConv(torch.randn(3, 2, 1, 3, 3), torch.zeros(3))
    for width in range(4, 6 + MAX_PACKED_SHAPES):
        x = torch.randn(1, 2, 1, 4, width)
        expected = F.conv3d(x, conv.weight, padding=(0, 1, 1))
        torch.testing.assert_close(conv(x), expected)
        torch.testing.assert_close(conv(x), expected)
    assert len(conv._packed) == MAX_PACKED_SHAPES


def test_nothing_is_packed_where_an_operator_is_missing(monkeypatch):
    operators = {PackedLinear: ("_linear_pointwise",), PackedConv: ("_gone_in_some_version",)}
    monkeypatch.setattr("vivace.layers.packed._OPERATORS", operators)
    assert can_pack(PackedLinear, torch.float32)
    assert not can_pack(PackedConv, torch.float32)
