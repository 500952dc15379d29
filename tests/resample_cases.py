"""Cases of resampling, fused form against definition; run as a script by the CPU's test.

Triton decides at its import whether kernels are interpreted, so the CPU's test needs a process of its own.
"""

import torch

from vivace.ops.resample import naive, triton_fused

STRIDES = ((1, 2, 2), (2, 1, 1), (2, 2, 2))


def check(device: torch.device, dtype: torch.dtype, tolerance: float) -> int:
    """Compare all cases; returns how many."""
    generator = torch.Generator().manual_seed(0)
    num_cases = 0

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator).to(device, dtype)

    def compare(expected: torch.Tensor, got: torch.Tensor) -> None:
        nonlocal num_cases
        assert got.is_contiguous(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)
        num_cases += 1

    for stride in STRIDES:
        neighbours = stride[0] * stride[1] * stride[2]
        for streams, width, group in ((1, 3, 1), (2, 4, 2), (1, 40, 4)):
            size = 2 * stride[0], 3 * stride[1], 5 * stride[2]
            update, bias = random(streams, width, *size), random(width)
            total = random(streams, width * group, *size)
            compare(*(form.shrunk(update, bias, total, stride) for form in (naive, triton_fused)))
        for streams, width, repeats in ((1, 3, 1), (2, 4, 2), (1, 70, 2)):
            update, bias = (
                random(streams, width * repeats * neighbours, 2, 3, 5),
                random(width * repeats * neighbours),
            )
            total = random(streams, width * neighbours, 2, 3, 5)
            for num_dropped in {0, stride[0] - 1}:
                compare(
                    *(
                        form.grown(update, bias, total, stride, num_dropped=num_dropped)
                        for form in (naive, triton_fused)
                    )
                )
    return num_cases


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(check(torch.device("cpu"), torch.float32, 2e-6))
