"""Variants of kernels beside each other on one GPU: python benchmarks/probe.py [gdn] [depthwise]."""

import sys
from collections import defaultdict
from pathlib import Path

import halves_gdn
import previous_depthwise
import previous_gdn
import torch
from sana_kernels import DEVICE, graph_ms
from torch.profiler import ProfilerActivity, profile

from vivace.bench import full_speed
from vivace.ops import depthwise_glu, triton_depthwise
from vivace.ops.frame_gdn import GdnProjections, naive, triton_forward


def by_kernel(work, runs=10):
    work()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(runs):
            work()
        torch.cuda.synchronize()
    found = defaultdict(float)
    for one in seen.key_averages():
        if one.device_type == torch.autograd.DeviceType.CUDA:
            found[one.key] += one.self_device_time_total / runs
    return " ".join(f"{name.strip('_').split('_')[0]} {us:.1f}" for name, us in found.items())


def relative(fast, exact):
    return ((fast.double() - exact).norm() / exact.norm()).item()


def gdn() -> None:
    given = full_speed.random_projections(DEVICE, torch.bfloat16)
    exact = GdnProjections(*(x.to(torch.complex128 if x.is_complex() else torch.float64) for x in given))
    _, *exact_state = naive.frame_gdn(exact.inputs(), (3,))
    mixed, *exact_last = naive.frame_gdn(exact.inputs(), (3,), *exact_state)
    wanted = exact.gated(mixed), *exact_last
    default = triton_forward.DEFAULT_TILES
    cases = [
        ("previous", previous_gdn, previous_gdn.DEFAULT_TILES),
        ("halves", halves_gdn, halves_gdn.DEFAULT_TILES),
        ("new", triton_forward, default),
    ]
    for rows, warps, stages in [
        (16, 4, 1), (16, 8, 1), (32, 8, 1), (32, 4, 2), (32, 8, 2), (64, 4, 1), (64, 8, 1), (64, 8, 2),
    ]:  # fmt: skip
        tiles = default._replace(state_rows=rows, scan_warps=warps, scan_stages=stages)
        cases.append((f"scan {rows} rows {warps} warps {stages} stages", triton_forward, tiles))
    for tokens, warps, stages in [
        (64, 8, 1),
        (64, 8, 3),
        (64, 16, 2),
        (32, 8, 2),
        (32, 8, 3),
        (128, 8, 1),
        (128, 16, 1),
    ]:
        tiles = default._replace(summary_tokens=tokens, summary_warps=warps, summary_stages=stages)
        cases.append((f"summary {tokens} tokens {warps} warps {stages} stages", triton_forward, tiles))
    for tokens, warps in [(64, 8), (128, 8), (32, 4), (32, 8), (128, 16)]:
        tiles = default._replace(output_tokens=tokens, output_warps=warps)
        cases.append((f"output {tokens} tokens {warps} warps", triton_forward, tiles))
    for name, module, tiles in cases:
        try:
            _, *state = module.forward(given, (3,), None, None, tiles)
            got = module.forward(given, (3,), *state, tiles)
            far = " ".join(f"{relative(a, b):.1e}" for a, b in zip(got, wanted))
            work = lambda: module.forward(given, (3,), *state, tiles)  # noqa: B023, E731
            print(f"{name:36s} {graph_ms(work) * 1000:7.1f} us  {far}  {by_kernel(work)}", flush=True)
        except Exception as error:
            torch.cuda.synchronize()
            print(
                f"{name:36s} failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}", flush=True
            )


def check() -> None:
    """Exit code 1 where the tree's own kernels are wrong."""
    given = full_speed.random_projections(DEVICE, torch.bfloat16)
    exact = GdnProjections(*(x.to(torch.complex128 if x.is_complex() else torch.float64) for x in given))
    out, *_ = triton_forward.forward(given, (3,), None, None)
    mixed, *_ = naive.frame_gdn(exact.inputs(), (3,))
    hidden = torch.randn(3, 880, 13440, device=DEVICE).bfloat16()
    weight, bias = (
        torch.randn(13440, 1, 3, 3, device=DEVICE).bfloat16(),
        torch.randn(13440, device=DEVICE).bfloat16(),
    )
    ours = triton_depthwise.silu_depthwise_glu(hidden, weight, bias, 22, 40)
    old = previous_depthwise.silu_depthwise_glu(hidden, weight, bias, 22, 40)
    errors = relative(out, exact.gated(mixed)), relative(ours, old.double())
    print("check", errors)
    sys.exit(not all(error < 2e-2 for error in errors))


def depthwise() -> None:
    generator = torch.Generator(DEVICE).manual_seed(0)
    hidden = torch.randn(3, 880, 13440, device=DEVICE, generator=generator).bfloat16()
    weight = torch.randn(13440, 1, 3, 3, device=DEVICE, generator=generator).bfloat16()
    bias = torch.randn(13440, device=DEVICE, generator=generator).bfloat16()
    exact = depthwise_glu.silu_depthwise_glu(hidden[None].double(), weight.double(), bias.double(), (22, 40))[
        0
    ]
    old = lambda: previous_depthwise.silu_depthwise_glu(hidden, weight, bias, 22, 40)  # noqa: E731
    print(f"{'previous':36s} {graph_ms(old) * 1000:7.1f} us  {relative(old(), exact):.1e}", flush=True)
    for channels, warps, parts in [
        (128, 1, 1), (64, 1, 1), (32, 1, 1), (256, 2, 1), (128, 2, 1), (64, 2, 1), (256, 4, 1), (512, 4, 1),
        (64, 1, 2), (64, 1, 3), (128, 1, 2), (128, 2, 2), (32, 1, 2), (256, 4, 2), (512, 8, 1),
    ]:  # fmt: skip
        work = lambda: triton_depthwise.silu_depthwise_glu(  # noqa: E731
            hidden,
            weight,
            bias,
            22,
            40,
            block_channels=channels,
            warps=warps,
            row_parts=parts,  # noqa: B023
        )
        name = f"{channels} channels {warps} warps {parts} parts"
        print(f"{name:36s} {graph_ms(work) * 1000:7.1f} us  {relative(work(), exact):.1e}", flush=True)


def stages() -> None:
    from time import perf_counter

    from vivace.bench import end_to_end
    from vivace.core.grid import ChunkPlan
    from vivace.pipelines.edit import to_host

    editor = end_to_end.RandomEditor(DEVICE)
    for precision in ("bf16", "fp8"):
        if precision == "fp8":
            editor.to_fp8()
        pipeline = editor.pipeline()
        settings = end_to_end.EndToEndSettings(loop="serial")
        plan = ChunkPlan.live(3, first_chunk_frames=3)
        stream = end_to_end._start(pipeline, settings, plan, None)._streams[0]
        frames = end_to_end._random_frames(settings, 24, 0)
        found = defaultdict(list)
        for index in range(16):
            torch.cuda.synchronize()
            whole = perf_counter()
            stream.push(frames[:17] if index == 0 else frames)
            while (work := stream.plan()) is not None:
                began = perf_counter()
                marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
                marks[0].record()
                (launched,) = pipeline.launch([(stream, work)])
                if launched.frames is not None:
                    host = to_host(launched.frames)
                marks[1].record()
                launched_ms = (perf_counter() - began) * 1000
                torch.cuda.synchronize()
                if index >= 8:
                    name = type(work).__name__
                    found[name].append((marks[0].elapsed_time(marks[1]), launched_ms))
                stream.advance(launched.flight, launched.memories)
            if index >= 8:
                found["chunk"].append(((perf_counter() - whole) * 1000, 0.0))
        for name, pairs in found.items():
            device_ms, host_ms = (sorted(column)[len(column) // 2] for column in zip(*pairs))
            print(
                f"{precision} {name:10s} {device_ms:8.2f} ms on the device, launched in {host_ms:6.2f} ms",
                flush=True,
            )
        if precision == "bf16":
            with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
                for push in range(2):
                    stream.push(frames)
                    while (work := stream.plan()) is not None:
                        (result,) = pipeline.run([(stream, work)])
                        stream.advance(result.flight, result.memories)
            print(
                seen.key_averages().table(
                    sort_by="self_device_time_total", row_limit=40, max_name_column_width=90
                )
            )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    for name in sys.argv[1:]:
        print(f"== {name}: {torch.cuda.get_device_name()}", flush=True)
        with torch.inference_mode():
            {"check": check, "gdn": gdn, "depthwise": depthwise, "stages": stages}[name]()
