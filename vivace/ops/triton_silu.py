"""SiLU inside Triton kernels."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def silu(x, FAST: tl.constexpr):
    """x times its logistic function, in fp32."""
    if FAST:
        # one special-function operation instead of two; error 2^-11, below bf16 rounding
        half = x * 0.5
        turned = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [half], dtype=tl.float32, is_pure=True, pack=1
        )
        return half + half * turned
    return x * tl.sigmoid(x)
