"""fp8 rows and emulated NVFP4: the numbers that the formats hold, and products of them."""

import pytest
import torch

from vivace.core.errors import ConfigError
from vivace.ops import fp8_linear as fp8
from vivace.ops.nvfp4 import BLOCK, MAGNITUDES, nvfp4_rounded


def test_rows_use_the_whole_range_of_e4m3():
    x = torch.randn(5, 32) * torch.tensor([1e-3, 1.0, 50.0, 1e4, 0.0])[:, None]
    rows = fp8.quantize_rows(x)
    assert rows.values.dtype == torch.float8_e4m3fn
    assert rows.values[:4].float().abs().amax(dim=1).tolist() == [448.0] * 4
    # three bits behind the point: half a step is a sixteenth
    error = (rows.dequantized() - x).abs()
    assert (error <= x.abs() / 16 + rows.scales * 2**-10).all()
    assert (rows.values[4].float() == 0).all()


def test_the_product_is_that_of_the_rounded_operands():
    x, weight, bias = torch.randn(7, 48), torch.randn(20, 48), torch.randn(20)
    left, right = fp8.quantize_rows(x), fp8.quantize_rows(weight)
    expected = left.dequantized() @ right.dequantized().T + bias
    torch.testing.assert_close(fp8.fp8_linear(left, right, bias, torch.float32), expected)
    exact = x @ weight.T + bias
    assert 1e-3 < (expected - exact).norm() / exact.norm() < 5e-2


def test_a_gpu_without_fp8_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100")
    with pytest.raises(ConfigError, match=r"NVIDIA A100 has compute capability 8.0 .* choose bf16"):
        fp8.check_fp8(torch.device("cuda"))
    fp8.check_fp8(torch.device("cpu"))


def test_nvfp4_keeps_its_own_numbers():
    """Blocks of representable magnitudes under an exact scale come back unchanged."""
    block = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)])
    # the largest value 6 * 448 makes the tensor scale 1, so a block scale of 1 is exact
    top = torch.zeros(16)
    top[0] = 6 * 448
    x = torch.stack([torch.cat([block, top]), torch.cat([2 * block, top])])
    assert torch.equal(nvfp4_rounded(x), x)


def test_nvfp4_rounds_to_the_nearest_of_its_numbers_under_e4m3_scales():
    x = torch.randn(9, 3 * BLOCK + 5) * torch.logspace(-2, 2, 9)[:, None]
    rounded = nvfp4_rounded(x)
    assert rounded.shape == x.shape
    tensor_scale = x.abs().max() / (6 * 448)
    for row, ours in zip(x, rounded):
        for start in range(0, len(row), BLOCK):
            part = row[start : start + BLOCK]
            scale = (part.abs().max() / 6 / tensor_scale).to(torch.float8_e4m3fn).float() * tensor_scale
            grid = torch.tensor([*MAGNITUDES, *(-m for m in MAGNITUDES)]) * scale
            nearest = (part[:, None] - grid).abs().amin(dim=1)
            torch.testing.assert_close(
                (ours[start : start + BLOCK] - part).abs(), nearest, rtol=1e-4, atol=1e-6
            )


def test_nvfp4_of_nothing_is_nothing():
    assert torch.equal(nvfp4_rounded(torch.zeros(2, 20)), torch.zeros(2, 20))


def test_nvfp4_is_coarser_than_fp8():
    x = torch.randn(64, 256)
    errors = [(y - x).norm() / x.norm() for y in (nvfp4_rounded(x), fp8.quantize_rows(x).dequantized())]
    assert 0.05 < errors[0] < 0.15
    assert errors[1] < 0.04
