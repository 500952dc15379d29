import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from vivace.ops.conv_input import Padding, conv_input

CASES = Path(__file__).parents[1] / "conv_input_cases.py"


def composed(x: torch.Tensor, tail: torch.Tensor | None, padding: Padding) -> torch.Tensor:
    """The same from library parts, as the formula reads."""
    activated = F.silu(x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt())
    before = activated[:, :, :1].expand(-1, -1, padding.before, -1, -1) if tail is None else tail
    after = activated[:, :, -1:].expand(-1, -1, padding.after, -1, -1)
    padded = torch.cat([before, activated, after], dim=2)
    return F.pad(padded, (1, 1, 1, 1, 0, 0), mode="reflect") if padding.reflect else padded


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("has_tail", [False, True])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (1, 1)])
def test_it_equals_norm_activation_and_padding_from_library_parts(reflect, has_tail, before, after):
    update, base = torch.randn(2, 6, 3, 4, 5), torch.randn(2, 6, 3, 4, 5)
    bias, tail = torch.randn(6), torch.randn(2, 6, before, 4, 5) if has_tail else None
    padding = Padding(before=before, after=after, reflect=reflect)
    got = conv_input(update, tail, padding, base=base, bias=bias, activate=True)
    total = base + update + bias[:, None, None, None]
    expected = composed(total, tail, padding)
    torch.testing.assert_close(got.padded, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(got.total, total)
    border = slice(1, -1) if reflect else slice(None)
    kept = expected[:, :, 3 : 3 + before, border, border]
    torch.testing.assert_close(got.tail, kept, atol=1e-6, rtol=1e-6)


def test_what_a_convolution_reads_lies_channels_last_and_the_tail_is_a_copy():
    got = conv_input(torch.randn(1, 6, 3, 4, 5), None, Padding(before=2), activate=False)
    assert got.padded.is_contiguous(memory_format=torch.channels_last_3d)
    before = got.tail.clone()
    got.padded.zero_()
    assert torch.equal(got.tail, before)


def test_gradients_pass_through_every_part():
    update = torch.randn(1, 3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    base = torch.randn(1, 3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    tail = torch.randn(1, 3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    padding = Padding(before=2, reflect=True)

    def run(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(conv_input(tensors[0], tensors[2], padding, base=tensors[1], activate=True))

    assert torch.autograd.gradcheck(run, (update, base, tail))


def test_the_fused_form_equals_the_definition_in_the_interpreter():
    pytest.importorskip("triton")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(CASES)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 64


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("channels", [5, 128, 2048])
def test_the_fused_form_equals_the_definition_on_a_gpu(dtype, tolerance, channels):
    pytest.importorskip("triton")
    from conv_input_cases import check

    # a second of compiling for each; 5 has no divisor in common with the number of combinations
    assert check(torch.device("cuda"), dtype, tolerance, channels, every=5) == 13
