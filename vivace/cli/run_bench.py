"""`vivace bench`: times a model's stages in the wanted precisions and step counts."""

import dataclasses
import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from vivace.bench.edit_speed import SpeedReport, SpeedSettings, measure_speed
from vivace.bench.machine import Machine, describe_machine, peak_rss_mib
from vivace.bench.result_page import write_page
from vivace.catalog.editor import Editor
from vivace.catalog.entries import SANA_STREAMING, find_folder
from vivace.catalog.load import build_pipeline, choose_device, has_native_bf16, use_threads
from vivace.cli.arguments import BenchArguments
from vivace.cli.quantities import parse_size
from vivace.cli.run_bench_full import run_bench_full
from vivace.core.errors import InputError


def run_bench(arguments: BenchArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If the model, an option or the folder for the result cannot be used.
    """
    if arguments.model == SANA_STREAMING.name:
        return run_bench_full(arguments)
    if arguments.write is not None and not arguments.write.is_dir():
        raise InputError(f"there is no folder {arguments.write} to write the result into; create it first")
    use_threads(arguments.threads)
    device = choose_device(arguments.device)
    machine = describe_machine(device, has_native_bf16=has_native_bf16())
    console = Console(stderr=arguments.json)
    console.print(f"{machine.processor}, {machine.num_threads} threads, torch {machine.torch}")
    reports: list[SpeedReport] = []
    for report in _measure(arguments, str(device)):
        reports.append(report)
        console.print(_title(report), soft_wrap=True)
        console.print(_table(report))
    if arguments.write is not None:
        day = datetime.now(UTC).date()
        path = write_page(
            arguments.write, arguments.model, machine, reports, day=day, command=_command(arguments)
        )
        console.print(f"written to {path}")
    if arguments.json:
        print(json.dumps(_result(arguments.model, machine, reports)))
    return 0


def _measure(arguments: BenchArguments, device: str) -> Iterator[SpeedReport]:
    folder = find_folder(arguments.model)
    defaults = folder.defaults
    native = defaults.native_width_px, defaults.native_height_px
    width_px, height_px = native if arguments.size is None else parse_size(arguments.size)
    for precision in arguments.precisions:
        weights = "random" if arguments.random_weights else "stored"
        pipeline = build_pipeline(folder, device, precision, weights=weights, graphs=arguments.graphs)
        editor = Editor(pipeline, defaults)
        for num_steps in arguments.steps:
            settings = SpeedSettings(
                width_px=width_px,
                height_px=height_px,
                num_denoising_steps=num_steps,
                commit=arguments.commit or defaults.commit,
                num_chunks=arguments.chunks,
                num_warmup_chunks=arguments.warmup,
            )
            yield measure_speed(editor, settings)


def _title(report: SpeedReport) -> str:
    settings = report.settings
    return (
        f"\n{settings.width_px}x{settings.height_px}, {report.precision}, "
        f"{settings.num_denoising_steps} steps, {settings.commit}: "
        f"{report.frames_per_second:.1f} frames per second"
    )


def _table(report: SpeedReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("stage")
    for name in ("median ms", "p99 ms", "ms a raw frame", "runs"):
        table.add_column(name, justify="right")
    for stage in report.stages:
        table.add_row(
            stage.name,
            f"{stage.median_ms:.2f}",
            f"{stage.p99_ms:.2f}",
            f"{stage.median_ms / report.raw_frames_per_chunk:.2f}",
            str(stage.num_runs),
        )
    return table


def _result(model: str, machine: Machine, reports: list[SpeedReport]) -> dict[str, object]:
    return {
        "model": model,
        "machine": dataclasses.asdict(machine),
        "runs": [dataclasses.asdict(report) for report in reports],
        "peak_rss_mib": peak_rss_mib(),
    }


def _command(arguments: BenchArguments) -> str:
    """The command line that repeats the measurement."""
    words = ["vivace", "bench", arguments.model]
    words += ["--steps", *map(str, arguments.steps), "--precisions", *arguments.precisions]
    words += ["--commit", arguments.commit] if arguments.commit else []
    words += ["--chunks", str(arguments.chunks), "--warmup", str(arguments.warmup)]
    words += ["--size", arguments.size] if arguments.size else []
    words += ["--threads", str(arguments.threads)] if arguments.threads else []
    words += ["--random-weights"] if arguments.random_weights else []
    words += ["--graphs", arguments.graphs] if arguments.graphs != "auto" else []
    return shlex.join(words)
