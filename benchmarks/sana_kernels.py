"""Tile choices and alternatives of the GPU kernels, and where a full-size forward spends its time.

    python benchmarks/sana_kernels.py [sweep] [glue] [profile] [profile8]

Prints a table for each part. Needs a GPU; `vivace bench sana-streaming` measures the whole.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from vivace.bench import full_speed
from vivace.catalog.random_weights import random_dit
from vivace.catalog.sana_streaming import sana_streaming_spec
from vivace.models.precision import PrecisionPolicy, apply_precision
from vivace.ops import depthwise_glu, row_norm, triton_depthwise, triton_rows
from vivace.ops.fp8_linear import Fp8Rows, fp8_linear, quantize_rows
from vivace.ops.frame_gdn import triton_forward
from vivace.ops.triton_text_attention import text_attention

BF16 = PrecisionPolicy()
DEVICE = torch.device("cuda")


def graph_ms(work: Callable[[], object], repeats: int = 10) -> float:
    """Median time of one run among `repeats` in a graph."""

    def several() -> None:
        for _ in range(repeats):
            work()

    times = full_speed.event_times(full_speed.recorded(several), 2, 20)
    return sorted(times)[len(times) // 2] / repeats


def row(name: str, milliseconds: float, note: str = "") -> None:
    print(f"{name:58s} {milliseconds * 1000:9.1f} us  {note}", flush=True)


def attempt(name: str, work: Callable[[], object], note: str = "") -> None:
    """A choice that does not fit the chip is a row of the table too."""
    try:
        row(name, graph_ms(work), note)
    except Exception as error:
        torch.cuda.synchronize()
        print(f"{name:58s} failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}", flush=True)


def kernel_times(work: Callable[[], object], top: int = 12, runs: int = 3) -> None:
    work()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as seen:
        for _ in range(runs):
            work()
        torch.cuda.synchronize()
    copies = [
        one for one in seen.key_averages(group_by_input_shape=True) if one.key in ("aten::copy_", "aten::cat")
    ]
    kernels = [one for one in seen.key_averages() if one.device_type == torch.autograd.DeviceType.CUDA]
    events = sorted(kernels, key=lambda one: -one.self_device_time_total)
    total = sum(one.self_device_time_total for one in events)
    print(f"kernel time {total / runs / 1000:.2f} ms a run")
    for one in events[:top]:
        print(f"  {one.self_device_time_total / runs:9.1f} us {one.count / runs:6.0f}x  {one.key[:100]}")
    for one in sorted(copies, key=lambda one: -one.self_device_time_total)[:6]:
        spent = f"{one.self_device_time_total / runs:9.1f} us {one.count / runs:6.0f}x"
        print(f"  {spent}  {one.key} {one.input_shapes}")


def sweep() -> None:
    print("== frame GDN, bf16, T=3 S=880 heads=20 D=112")
    given = full_speed.random_projections(DEVICE, torch.bfloat16)
    _, *state = triton_forward.forward(given, (3,), None, None)
    default = triton_forward.DEFAULT_TILES
    attempt("default", lambda: triton_forward.forward(given, (3,), *state))
    kernel_times(lambda: triton_forward.forward(given, (3,), *state))
    for tokens, warps, stages in [(32, 4, 3), (32, 4, 4), (64, 4, 2), (64, 8, 3), (128, 4, 2), (128, 8, 2)]:
        tiles = default._replace(summary_tokens=tokens, summary_warps=warps, summary_stages=stages)
        name = f"summaries {tokens} tokens {warps} warps {stages} stages"
        attempt(name, lambda tiles=tiles: triton_forward.forward(given, (3,), *state, tiles))
    for rows, warps in [(16, 4), (32, 8), (64, 4), (64, 8)]:
        tiles = default._replace(state_rows=rows, scan_warps=warps)
        name = f"scan {rows} rows {warps} warps"
        attempt(name, lambda tiles=tiles: triton_forward.forward(given, (3,), *state, tiles))
    for tokens, warps in [(32, 4), (64, 8), (128, 8)]:
        tiles = default._replace(output_tokens=tokens, output_warps=warps)
        name = f"output {tokens} tokens {warps} warps"
        attempt(name, lambda tiles=tiles: triton_forward.forward(given, (3,), *state, tiles))
    print("== SiLU, depthwise 3x3, GLU: (3, 880, 13440)")
    hidden = torch.randn(3, 880, 13440, device=DEVICE, dtype=torch.bfloat16)
    weight, bias = (
        torch.randn(13440, 1, 3, 3, device=DEVICE).bfloat16(),
        torch.randn(13440, device=DEVICE).bfloat16(),
    )
    with torch.enable_grad():
        weight.requires_grad_()
        attempt("plain", lambda: depthwise_glu.silu_depthwise_glu(hidden[None], weight, bias, (22, 40)))
        weight.requires_grad_(False)
    for columns, channels, warps in [(8, 32, 2), (8, 32, 1), (4, 32, 1), (4, 32, 2), (8, 64, 2), (16, 32, 4)]:
        attempt(
            f"fused {columns} columns {channels} channels {warps} warps",
            lambda c=columns, d=channels, w=warps: triton_depthwise.silu_depthwise_glu(
                hidden, weight, bias, 22, 40, block_columns=c, block_channels=d, warps=w
            ),
        )


def glue() -> None:
    print("== glue, 2640 rows of 2240: Triton against torch.compile")
    x, y = (torch.randn(1, 3, 880, 2240, device=DEVICE).bfloat16() for _ in range(2))
    shift, scale, gate = (torch.randn(1, 1, 1, 2240, device=DEVICE).bfloat16() for _ in range(3))
    attempt("modulated norm, Triton", lambda: row_norm.modulated_norm(x, shift, scale))
    attempt("sum and modulated norm, Triton", lambda: row_norm.sum_and_modulated_norm(x, y, shift, scale))
    attempt("gated sum, Triton", lambda: row_norm.gated_sum(x, gate, y))

    @torch.compile(dynamic=False)
    def compiled_norm(x, shift, scale):
        return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)

    @torch.compile(dynamic=False)
    def compiled_sum_norm(x, y, shift, scale):
        x = x + y
        return x, torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)

    @torch.compile(dynamic=False)
    def compiled_gate(x, gate, y):
        return torch.addcmul(x, gate, y)

    attempt("modulated norm, torch.compile", lambda: compiled_norm(x, shift, scale))
    attempt("sum and modulated norm, torch.compile", lambda: compiled_sum_norm(x, y, shift, scale))
    attempt("gated sum, torch.compile", lambda: compiled_gate(x, gate, y))
    attempt("quantize rows, Triton", lambda: triton_rows.quantize_rows(x.view(-1, 2240)))
    wide = torch.randn(2640, 6720, device=DEVICE).bfloat16()
    attempt("quantize rows of 6720, Triton", lambda: triton_rows.quantize_rows(wide))
    print("== products")
    for dim, out in [(2240, 6720), (2240, 2240), (2240, 13440), (6720, 2240)]:
        rows = torch.randn(2640, dim, device=DEVICE).bfloat16()
        weight = torch.randn(out, dim, device=DEVICE).bfloat16()
        left, right = quantize_rows(rows), Fp8Rows(*quantize_rows(weight))
        attempt(f"{dim} to {out}, bf16", lambda a=rows, b=weight: F.linear(a, b))
        attempt(f"{dim} to {out}, fp8 rows", lambda a=left, b=right: fp8_linear(a, b, None, torch.bfloat16))
    print("== cross-attention, 2640 queries, 300 keys")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from vivace.layers.attention import additive_mask

    query = torch.randn(1, 2640, 20, 112, device=DEVICE).bfloat16().transpose(1, 2)
    key, value = (torch.randn(1, 300, 20, 112, device=DEVICE).bfloat16().transpose(1, 2) for _ in range(2))
    mask = additive_mask(torch.arange(300, device=DEVICE)[None] < 60, torch.bfloat16)
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH):

        def cross(backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

        attempt(str(backend), cross)
    attempt("ours", lambda: text_attention(query, key, value, mask))
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):

        def short(backend=backend):
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(query, key[:, :, :64], value[:, :, :64])

        attempt(f"{backend}, 64 keys, no mask", short)


def where_time_goes(policy: PrecisionPolicy = BF16) -> None:
    print(f"== one forward, eager, {policy.default}, by kernel")
    settings = replace(full_speed.FullSpeedSettings(), num_chunks=1)
    dit = random_dit(sana_streaming_spec(), DEVICE, torch.bfloat16)
    apply_precision(dit.blocks, policy)
    with torch.inference_mode():
        text = full_speed.random_text(dit, 1, DEVICE)
        levels, sigmas = full_speed.sigma_levels(settings, DEVICE)
        state = None
        for index in range(3):
            noise, source = (full_speed.random_latent(settings, DEVICE, 2 * index + i) for i in range(2))
            _, state = full_speed.denoise_chunk(dit, noise, source, sigmas, levels, text, state, "clean_pass")
        latent = torch.cat([noise, source], dim=1).to(torch.bfloat16)
        kernel_times(lambda: dit(latent, sigmas[1], text, state, write=False), top=30)


def where_time_goes_in_fp8() -> None:
    where_time_goes(PrecisionPolicy(default="fp8"))


PARTS = {
    "sweep": sweep,
    "glue": glue,
    "profile": where_time_goes,
    "profile8": where_time_goes_in_fp8,
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        with torch.inference_mode():
            PARTS[name]()
