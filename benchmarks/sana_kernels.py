"""Tile choices and alternatives of the GPU kernels, and where a full-size forward spends its time.

    python benchmarks/sana_kernels.py [training] [stages] [gaps] [sweep] [vae] [glue] [profile] [profile8]

Prints a table for each part. Needs a GPU; `vivace bench sana-streaming` measures the whole.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from time import perf_counter

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from vivace.bench import end_to_end, full_speed
from vivace.catalog.random_weights import random_dit
from vivace.catalog.sana_streaming import sana_streaming_spec
from vivace.core.grid import ChunkPlan
from vivace.models.precision import PrecisionPolicy, apply_precision
from vivace.ops import resample, row_norm, triton_depthwise, triton_rows
from vivace.ops.conv_input import Padding, conv_input
from vivace.ops.fp8_linear import Fp8Rows, fp8_linear, quantize_rows
from vivace.ops.frame_gdn import (
    FrameGdnInputs,
    GdnProjections,
    chunked,
    naive,
    triton_forward,
    triton_training,
)
from vivace.ops.triton_text_attention import text_attention
from vivace.pipelines.edit import to_host
from vivace.pipelines.velocity_graphs import VelocityGraphs

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


def by_kernel(work: Callable[[], object], runs: int = 10) -> str:
    """Microseconds of a run in each kernel."""
    work()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        for _ in range(runs):
            work()
        torch.cuda.synchronize()
    found: defaultdict[str, float] = defaultdict(float)
    for one in seen.key_averages():
        if one.device_type == torch.autograd.DeviceType.CUDA:
            found[one.key.strip("_").split("_")[0]] += one.self_device_time_total / runs
    return " ".join(f"{name} {us:.1f}" for name, us in found.items())


def relative(fast: torch.Tensor, exact: torch.Tensor) -> float:
    return ((fast.double() - exact).norm() / exact.norm()).item()


def sweep() -> None:
    print(
        "== frame GDN, bf16, T=3 S=880 heads=20 D=112; distances of tokens, numerator and denominator to fp64"
    )
    given = full_speed.random_projections(DEVICE, torch.bfloat16)
    exact = GdnProjections(*(x.to(torch.complex128 if x.is_complex() else torch.float64) for x in given))
    _, *exact_state = naive.frame_gdn(exact.inputs(), (3,))
    mixed, *exact_last = naive.frame_gdn(exact.inputs(), (3,), *exact_state)
    wanted = exact.gated(mixed), *exact_last
    default = triton_forward.DEFAULT_TILES
    cases = [("default", default)]
    for tokens, warps, stages in [
        (64, 4, 1), (64, 4, 3), (64, 8, 1), (64, 8, 2), (64, 8, 3), (32, 4, 2), (32, 4, 3), (128, 8, 1),
        (128, 8, 2),
    ]:  # fmt: skip
        tiles = default._replace(summary_tokens=tokens, summary_warps=warps, summary_stages=stages)
        cases.append((f"summaries {tokens} tokens {warps} warps {stages} stages", tiles))
    for rows, warps, stages in [(16, 4, 2), (32, 2, 2), (32, 4, 1), (64, 4, 1), (64, 8, 1), (32, 4, 3)]:
        tiles = default._replace(state_rows=rows, scan_warps=warps, scan_stages=stages)
        cases.append((f"scan {rows} rows {warps} warps {stages} stages", tiles))
    for tokens, num_tiles, stages, warps in [
        (64, 1, 1, 4), (64, 2, 2, 4), (64, 4, 1, 4), (64, 7, 2, 4), (64, 4, 3, 4), (32, 7, 2, 4),
        (32, 4, 2, 4), (32, 7, 3, 4), (64, 4, 2, 8), (64, 7, 3, 8), (128, 2, 2, 8), (128, 4, 1, 8),
    ]:  # fmt: skip
        tiles = default._replace(
            output_tokens=tokens, output_tiles=num_tiles, output_stages=stages, output_warps=warps
        )
        cases.append((f"output {num_tiles} x {tokens} tokens {warps} warps {stages} stages", tiles))
    _, *state = triton_forward.forward(given, (3,), None, None)
    for name, tiles in cases:
        work = partial(triton_forward.forward, given, (3,), *state, tiles)
        try:
            far = " ".join(f"{relative(a, b):.1e}" for a, b in zip(work(), wanted))
            note = f"{far}  {by_kernel(work)}"
        except Exception:
            # tiles that this GPU cannot hold; `attempt` says what went wrong
            note = ""
        attempt(name, work, note)
    print("== SiLU, depthwise 3x3, GLU: (3, 880, 13440)")
    hidden = torch.randn(3, 880, 13440, device=DEVICE, dtype=torch.bfloat16)
    weight, bias = (
        torch.randn(13440, 1, 3, 3, device=DEVICE).bfloat16(),
        torch.randn(13440, device=DEVICE).bfloat16(),
    )
    for channels, warps, parts in [(64, 1, 2), (64, 1, 1), (32, 1, 1), (128, 1, 1), (128, 2, 2)]:
        attempt(
            f"fused {channels} channels {warps} warps {parts} parts",
            lambda c=channels, w=warps, p=parts: triton_depthwise.silu_depthwise_glu(
                hidden, weight, bias, 22, 40, block_channels=c, warps=w, row_parts=p
            ),
        )


def resampling() -> None:
    print("== the VAE's passes, 3 latent frames at 1280x704")

    def frames(channels: int, *size: int) -> torch.Tensor:
        shape = 1, *size, channels
        return torch.randn(shape, device=DEVICE, dtype=torch.bfloat16).movedim(-1, 1)

    for channels, size, reflect in [(128, (24, 176, 320), False), (128, (24, 176, 320), True),
                                    (256, (24, 88, 160), False), (512, (12, 88, 160), False)]:  # fmt: skip
        update, base, tail = frames(channels, *size), frames(channels, *size), frames(channels, 2, *size[1:])
        bias = torch.randn(channels, device=DEVICE).bfloat16()
        padding = Padding(before=2, reflect=reflect)
        work = partial(conv_input, update, tail, padding, base=base, bias=bias, activate=True)
        gbytes = 4 * update.numel() * 2 / 1e9
        ms = graph_ms(work, 3)
        row(f"input of a convolution, {channels} x {size}, reflect {reflect}", ms, f"{gbytes / ms:.2f} TB/s")
    for channels, out, size, stride in [
        (128, 256, (24, 176, 320), (1, 2, 2)),
        (256, 512, (24, 88, 160), (2, 1, 1)),
        (512, 1024, (12, 88, 160), (2, 2, 2)),
    ]:  # fmt: skip
        neighbours = stride[0] * stride[1] * stride[2]
        update, total = frames(out // neighbours, *size), frames(channels, *size)
        bias = torch.randn(out // neighbours, device=DEVICE).bfloat16()
        for form in (resample, resample.naive):
            ms = graph_ms(partial(form.shrunk, update, bias, total, stride), 3)
            gbytes = 2 * (2 * update.numel() + total.numel()) / 1e9
            row(f"shrunk to {out} by {form.__name__}", ms, f"{gbytes / ms:.2f} TB/s")
    for channels, out, size in [(1024, 512, (3, 22, 40)), (512, 256, (6, 44, 80)), (256, 128, (12, 88, 160))]:
        update, total = frames(8 * out, *size), frames(channels, *size)
        bias = torch.randn(8 * out, device=DEVICE).bfloat16()
        for form in (resample, resample.naive):
            ms = graph_ms(partial(form.grown, update, bias, total, (2, 2, 2), num_dropped=0), 3)
            gbytes = 2 * (2 * update.numel() + total.numel()) / 1e9
            row(f"grown to {out} by {form.__name__}", ms, f"{gbytes / ms:.2f} TB/s")


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


def stages() -> None:
    print("== works of a chunk one by one: on the GPU, launched by the host, GPU memory before and at most")
    editor = end_to_end.RandomEditor(DEVICE)
    settings = end_to_end.EndToEndSettings()
    for precision in ("bf16", "fp8"):
        if precision == "fp8":
            editor.to_fp8()
        print(f"{precision}: weights {torch.cuda.memory_allocated() / 2**30:.2f} GiB")
        pipeline = editor.pipeline()
        plan = ChunkPlan.live(3, first_chunk_frames=3)
        stream = pipeline.open("any", end_to_end.stream_settings(settings, plan, seed=0))
        frames = torch.randint(0, 256, (24, settings.height_px, settings.width_px, 3), dtype=torch.uint8)
        found: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
        for index in range(14):
            stream.push(frames[:17] if index == 0 else frames)
            while (work := stream.plan()) is not None:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                began = perf_counter()
                marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
                marks[0].record()
                (launched,) = pipeline.launch([(stream, work)])
                if launched.frames is not None:
                    to_host(launched.frames)
                marks[1].record()
                host_ms = (perf_counter() - began) * 1000
                torch.cuda.synchronize()
                most = torch.cuda.max_memory_allocated()
                if index >= 8:
                    memory = held / 2**30, most / 2**30
                    found[type(work).__name__].append((marks[0].elapsed_time(marks[1]), host_ms, *memory))
                stream.advance(launched.flight, launched.memories)
        for name, rows in found.items():
            device_ms, host_ms, held, most = (sorted(column)[len(column) // 2] for column in zip(*rows))
            print(
                f"{precision} {name:8s} {device_ms:8.2f} ms {host_ms:8.2f} ms  {held:.2f} {most:.2f} GiB",
                flush=True,
            )
        print(f"reserved at most {torch.cuda.max_memory_reserved() / 2**30:.2f} GiB")

        def chunk(stream=stream, pipeline=pipeline) -> None:
            stream.push(frames)
            while (work := stream.plan()) is not None:
                (launched,) = pipeline.launch([(stream, work)])
                stream.advance(launched.flight, launched.memories)

        kernel_times(chunk, top=40)


def gaps() -> None:
    print("== one replayed forward, bf16: what lies between kernels")
    settings = full_speed.FullSpeedSettings(num_chunks=1)
    dit = random_dit(sana_streaming_spec(), DEVICE, torch.bfloat16)
    velocity = VelocityGraphs(dit)
    text = full_speed.random_text(dit, 1, DEVICE)
    levels, sigmas = full_speed.sigma_levels(settings, DEVICE)
    state = None
    noise, source = (full_speed.random_latent(settings, DEVICE, seed) for seed in range(2))
    for _ in range(6):
        _, state = full_speed.denoise_chunk(
            velocity, noise, source, sigmas, levels, text, state, "clean_pass"
        )
    latent = torch.cat([noise, source], dim=1).to(torch.bfloat16)
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        for _ in range(2):
            velocity(latent, sigmas[1], text, state, write=False)
        torch.cuda.synchronize()
    spans = sorted(
        (one.time_range.start, one.time_range.end, one.name)
        for one in seen.events()
        if one.device_type == torch.autograd.DeviceType.CUDA
    )
    spans = spans[len(spans) // 2 :]
    busy = sum(end - start for start, end, _ in spans)
    print(f"{len(spans)} kernels, {busy / 1000:.2f} ms of {(spans[-1][1] - spans[0][0]) / 1000:.2f} ms")
    between: defaultdict[str, list[float]] = defaultdict(list)
    for (_, end, _), (start, _, name) in pairwise(spans):
        between[name].append(start - end)
    for name, each in sorted(between.items(), key=lambda pair: -sum(pair[1]))[:16]:
        print(f"  {sum(each):8.1f} us before {len(each):4d} x {name[:90]}")


@torch.inference_mode(False)
def training() -> None:
    print("== frame GDN with its gradient, median of 20: matmuls (autograd) against kernels")
    torch.set_float32_matmul_precision("high")
    for b, heads, frames, tokens, width, dtype in [
        (1, 20, 3, 880, 112, torch.bfloat16), (2, 20, 9, 880, 112, torch.bfloat16),
        (24, 8, 9, 60, 32, torch.float32), (24, 8, 9, 60, 32, torch.bfloat16), (16, 8, 9, 240, 32, torch.float32),
    ]:  # fmt: skip
        given = full_speed.random_projections(DEVICE, dtype, frames, tokens, heads, width).inputs()
        leaves = [x.expand(b, *x.shape[1:]).clone().to(dtype).requires_grad_() for x in given]
        for form in (chunked, triton_training):

            def step(form=form, leaves=leaves, frames=frames) -> None:
                out, last, _ = form.frame_gdn(FrameGdnInputs(*leaves), (3,) * (frames // 3))
                torch.autograd.grad(out.sum() + last.sum(), leaves)

            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            launched = sorted(full_speed.event_times(step, 3, 20))[10]
            gib = (torch.cuda.max_memory_allocated() - held) / 2**30
            name = f"{b} x {frames} frames of {tokens}, {heads} heads of {width}, {dtype}"
            replayed = sorted(full_speed.event_times(full_speed.recorded(step), 3, 20))[10]
            note = f"replayed; launched {launched * 1000:.0f} us, {gib:.2f} GiB"
            row(f"{name} {form.__name__.rsplit('.')[-1]}", replayed, note)


PARTS = {
    "training": training,
    "stages": stages,
    "gaps": gaps,
    "sweep": sweep,
    "vae": resampling,
    "glue": glue,
    "profile": where_time_goes,
    "profile8": where_time_goes_in_fp8,
}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    for name in wanted:
        with torch.inference_mode():
            PARTS[name]()
