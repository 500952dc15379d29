"""Products in 8-bit floats (e4m3) with one scale a row of each operand; elsewhere the same numbers."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.ops.kernel_choice import serves

FP8_MAX = 448.0
# Ada (8.9) is the first with 8-bit float products
MIN_CAPABILITY = (8, 9)


class Fp8Rows(NamedTuple):
    """A matrix as e4m3 values and the fp32 factor of each row."""

    values: Float[Tensor, "*n dim"]
    scales: Float[Tensor, "*n 1"]

    def dequantized(self) -> Float[Tensor, "*n dim"]:
        """The represented matrix in fp32."""
        return self.values.float() * self.scales


def quantize_rows(x: Float[Tensor, "n dim"]) -> Fp8Rows:
    """Every row scaled so that its largest magnitude is 448, then rounded to e4m3."""
    if serves(x):
        from vivace.ops import triton_rows

        return Fp8Rows(*triton_rows.quantize_rows(x))
    scales = x.float().abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / FP8_MAX
    values = (x.float() / scales).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    return Fp8Rows(values, scales)


def quantize_tokens(x: Float[Tensor, "*n dim"]) -> Fp8Rows:
    """`quantize_rows` with any leading axes."""
    values, scales = quantize_rows(x.reshape(-1, x.shape[-1]))
    return Fp8Rows(values.view(x.shape), scales.view(*x.shape[:-1], 1))


def fp8_linear(
    x: Fp8Rows, weight: Fp8Rows, bias: Float[Tensor, "out"] | None, dtype: torch.dtype
) -> Float[Tensor, "n out"]:
    """x weight^T + bias in `dtype`, summed in fp32; on a CPU the same numbers without 8-bit hardware.

    Raises:
        ConfigError: If the GPU has no 8-bit float products.
    """
    if not x.values.is_cuda:
        product = x.dequantized() @ weight.dequantized().mT
        return (product if bias is None else product + bias.float()).to(dtype)
    check_fp8(x.values.device)
    product = torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
        x.values,
        weight.values.mT,
        scale_a=x.scales,
        scale_b=weight.scales.mT,
        bias=None if bias is None else bias.to(torch.bfloat16),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product.to(dtype)


def check_fp8(device: torch.device) -> None:
    """Check that a device can run fp8 products.

    Raises:
        ConfigError: If it is a GPU older than compute capability 8.9.
    """
    if device.type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        raise ConfigError(
            f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]} "
            "and no fp8 products, expected 8.9 (Ada, Hopper) or newer; choose bf16"
        )
