"""`vivace bench sana-streaming`: times the full-size transformer on random weights, nothing to download."""

import dataclasses
import json

import torch
from rich.console import Console
from rich.table import Table

from vivace.bench.full_speed import FullSpeedReport, FullSpeedSettings, measure_full_speed
from vivace.bench.machine import describe_machine
from vivace.catalog.load import choose_device, has_native_bf16
from vivace.cli.arguments import BenchArguments
from vivace.cli.quantities import parse_size
from vivace.core.errors import InputError


def run_bench_full(arguments: BenchArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If an option cannot be used or there is no GPU.
    """
    if not arguments.random_weights:
        raise InputError("sana-streaming is timed on random weights so far; add --random-weights")
    if arguments.write is not None:
        raise InputError("sana-streaming writes no result page yet; use --json and leave out --write")
    device = choose_device(arguments.device)
    width_px, height_px = (1280, 704) if arguments.size is None else parse_size(arguments.size)
    machine = describe_machine(device, has_native_bf16=has_native_bf16())
    console = Console(stderr=arguments.json)
    console.print(f"{machine.processor}, torch {machine.torch}")
    reports: list[FullSpeedReport] = []
    for num_steps in arguments.steps:
        settings = FullSpeedSettings(
            width_px=width_px,
            height_px=height_px,
            num_denoising_steps=num_steps,
            num_chunks=arguments.chunks,
            num_warmup_chunks=arguments.warmup,
        )
        reports.append(measure_full_speed(device, settings))
        if device.type == "cuda":
            torch.cuda.empty_cache()
        console.print(f"\n{width_px}x{height_px}, {num_steps} steps", soft_wrap=True)
        console.print(_distances(reports[-1]))
        console.print(_times(reports[-1]))
    if arguments.json:
        result = {
            "model": arguments.model,
            "machine": dataclasses.asdict(machine),
            "runs": [dataclasses.asdict(report) for report in reports],
        }
        print(json.dumps(result))
    return 0


def _distances(report: FullSpeedReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("compared")
    table.add_column("relative distance", justify="right")
    for one in report.distances:
        table.add_row(one.name, f"{one.relative:.2e}")
    return table


def _times(report: FullSpeedReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("what")
    table.add_column("variant")
    for name in ("median ms", "p99 ms", "raw frames/s", "runs"):
        table.add_column(name, justify="right")
    for one in report.times:
        frames = "" if one.frames_per_second is None else f"{one.frames_per_second:.1f}"
        table.add_row(
            one.name, one.variant, f"{one.median_ms:.3f}", f"{one.p99_ms:.3f}", frames, str(one.num_runs)
        )
    for variant, peak_gib in report.peak_gib.items():
        table.add_row("peak GPU memory, GiB", variant, f"{peak_gib:.2f}")
    return table
