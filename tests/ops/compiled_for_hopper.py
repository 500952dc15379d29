"""Compiles kernels for a Hopper GPU on a machine without one: a script that prints their names.

Their Python callers run on CPU tensors of the official widths; what would be launched is compiled only.
"""

import json

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from gdn_projections import projections
from gdn_training_cases import inputs
from vivace.ops import triton_depthwise, triton_rows, triton_text_attention
from vivace.ops.conv_input import Padding
from vivace.ops.conv_input import triton_fused as fused_input
from vivace.ops.frame_gdn import FrameGdnInputs, triton_forward, triton_training
from vivace.ops.resample import triton_fused as fused_resample

HEADS, WIDTH = 20, 112
compiled: list[str] = []


class HopperWithoutDevice:
    """As much of a Triton driver as compiling asks for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


def compile_only(self: JITFunction, *args, grid, warmup: bool, **options):
    compiled.append(self.__name__)
    return run(self, *args, grid=grid, warmup=True, **options)


run = JITFunction.run


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape).bfloat16()


def transformer() -> None:
    dim = HEADS * WIDTH
    given = projections(1, HEADS, 3, 24, WIDTH, normal)
    triton_forward.forward(given, (3,), None, None)
    triton_forward.forward(given, (3,), torch.zeros(1, HEADS, WIDTH, WIDTH), torch.zeros(1, HEADS, WIDTH))
    x, vector = normal(1, 3, 8, dim), normal(1, 1, 1, dim)
    triton_rows.residual_norm(x, x, vector, vector, vector, 1e-6, rounds=True)
    triton_rows.residual_norm(x, None, None, vector, vector, 1e-6)
    table = torch.randn(24, WIDTH // 2, dtype=torch.complex64)
    triton_rows.rms_rotate(x.flatten(1, 2), vector.flatten(), table, WIDTH, 1e-5)
    heads = normal(1, HEADS, 3, 8, WIDTH)
    triton_rows.joined_heads((heads, heads), table, (heads, heads))
    triton_rows.temporal_sum(x, x, x, x[:, 1:])
    triton_rows.quantize_rows(x.flatten(0, 2))
    heads = normal(1, HEADS, 24, WIDTH)
    triton_text_attention.text_attention(heads, heads, heads, torch.zeros(1, 1, 1, 24).bfloat16())
    hidden, weight, bias = normal(3, 24, 6 * dim), normal(6 * dim, 1, 3, 3), normal(6 * dim)
    triton_depthwise.silu_depthwise_glu(hidden, weight, bias, 4, 6)


def vae() -> None:
    update, tail, bias = normal(1, 128, 4, 6, 8), normal(1, 128, 2, 6, 8), normal(128)
    for reflect in (False, True):
        padding = Padding(before=2, reflect=reflect)
        fused_input.conv_input(update, tail, padding, base=update, bias=bias, activate=True)
    for stride in ((1, 2, 2), (2, 1, 1), (2, 2, 2)):
        fused_resample.shrunk(update, bias, update, stride)
        fused_resample.grown(update, bias, update, stride, num_dropped=stride[0] - 1)


def training() -> None:
    given = inputs((1, 2, 3, 24, 32, 32), torch.device("cpu"), torch.bfloat16)
    leaves = FrameGdnInputs(*(x.requires_grad_() for x in given))
    out, last, _ = triton_training.frame_gdn(leaves, (3,))
    (out.sum() + last.sum()).backward()


if __name__ == "__main__":
    driver.set_active(HopperWithoutDevice())
    JITFunction.run = compile_only
    for part in (transformer, vae, training):
        part()
    print(json.dumps(sorted(set(compiled))))
