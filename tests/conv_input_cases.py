"""Cases of the convolution input, fused form against definition; run as a script by the CPU's test.

Triton decides at its import whether kernels are interpreted, so the CPU's test needs a process of its own.
"""

from itertools import product

import torch

from vivace.ops.conv_input import Padding, naive, triton_fused

CAUSAL, LOOKING_AHEAD = (2, 0), (1, 1)


def check(
    device: torch.device, dtype: torch.dtype, tolerance: float, channels: int = 5, every: int = 1
) -> int:
    """Compare all combinations of options, or one of `every`; returns how many."""
    generator = torch.Generator().manual_seed(0)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).to(device, dtype)

    flags = (False, True)
    cases = list(product((1, 3), flags, (CAUSAL, LOOKING_AHEAD), flags, flags, flags))[::every]
    for frames, has_tail, (before, after), reflect, has_base, activate in cases:
        update = random(2, channels, frames, 3, 4)
        tail = random(2, channels, before, 3, 4) if has_tail else None
        padding = Padding(before=before, after=after, reflect=reflect)
        base = random(2, channels, frames, 3, 4) if has_base else None
        bias = random(channels) if has_base else None
        results = [
            form.conv_input(update, tail, padding, base=base, bias=bias, activate=activate)
            for form in (naive, triton_fused)
        ]
        for expected, got in zip(*results):
            assert not got.isnan().any()
            torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
    return len(cases)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(check(torch.device("cpu"), torch.float32, 2e-6))
