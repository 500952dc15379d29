"""`vivace bench sana-streaming`: times the full-size model on random weights, nothing to download."""

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from vivace.bench.end_to_end import (
    EndToEndSettings,
    EndToEndSpeed,
    RandomEditor,
    measure_end_to_end,
    rows_to_measure,
)
from vivace.bench.full_speed import VARIANTS, FullSpeedReport, FullSpeedSettings, measure_full_speed
from vivace.bench.machine import Machine, describe_machine
from vivace.bench.memory_parts import CudaMeter, MemoryReport, measure_memory
from vivace.bench.result_page import markdown_table, page_head, page_path, write_text
from vivace.catalog.load import choose_device, has_native_bf16
from vivace.cli.arguments import BenchArguments
from vivace.cli.quantities import parse_size
from vivace.core.errors import InputError
from vivace.ops.fp8_linear import check_fp8

NATIVE = 1280, 704
# width, height and streams of the rows beside the native size and one stream
EXTRA = ((512, 288, 1), (1280, 704, 4))
EXPLANATION = """\
Random weights, chunks of 3 latent frames (24 raw frames). End to end: uint8 frames in main memory to edited
uint8 frames in main memory, at the model's size, without the text encoder and without reading, resizing and
writing video. Serial waits for every chunk; overlapped encodes the next and decodes the last beside it.
Chunk: time from the frames of one chunk to those of the next, all streams together, median / 99th percentile.
Latency: from a chunk's last raw frame to its edited frames, nothing else under way. Delay: of any raw frame
at 24 FPS, the wait for its chunk's last frame included. Where there are several streams, serial means shared
calls."""
Precision = Literal["bf16", "fp8"]
Row = tuple[str, ...]


def run_bench_full(arguments: BenchArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If an option cannot be used or there is no GPU.
        ConfigError: If fp8 is wanted and the GPU has none.
    """
    if not arguments.random_weights:
        raise InputError("sana-streaming is timed on random weights so far; add --random-weights")
    if arguments.write is not None and not arguments.write.is_dir():
        raise InputError(f"there is no folder {arguments.write} to write the result into; create it first")
    precisions = _precisions(arguments)
    device = choose_device(arguments.device)
    if device.type != "cuda":
        raise InputError(
            "the full-size model is timed on a GPU only; use --device cuda on a machine with one"
        )
    if "fp8" in precisions:
        check_fp8(device)
    machine = describe_machine(device, has_native_bf16=has_native_bf16())
    console = Console(stderr=arguments.json)
    console.print(f"{machine.processor}, torch {machine.torch}")
    reports: list[FullSpeedReport] = []
    if "dit" in arguments.parts:
        for report in _transformer(arguments, device, precisions):
            reports.append(report)
            for title, head, rows in _sections([report]):
                console.print(_table(title, head, rows))
    memories: list[MemoryReport] = []
    if "memory" in arguments.parts:
        for memory in _memory(arguments, device, precisions):
            memories.append(memory)
            console.print(_table(*_memory_section(memory)))
    speeds: list[EndToEndSpeed] = []
    if "end_to_end" in arguments.parts:
        for speed in _end_to_end(arguments, device, precisions):
            speeds.append(speed)
            # one line each as they come: the whole takes minutes
            console.print("  ".join(_speed_row(speed)), soft_wrap=True, highlight=False)
        console.print(_table("end to end", SPEED_HEAD, [_speed_row(speed) for speed in speeds]))
    if arguments.write is not None:
        console.print(f"written to {_write(arguments, machine, reports, memories, speeds)}")
    if arguments.json:
        result = {
            "model": arguments.model,
            "machine": dataclasses.asdict(machine),
            "runs": [dataclasses.asdict(report) for report in reports],
            "memory": [dataclasses.asdict(memory) for memory in memories],
            "end_to_end": [dataclasses.asdict(speed) for speed in speeds],
        }
        print(json.dumps(result))
    return 0


def _precisions(arguments: BenchArguments) -> tuple[Precision, ...]:
    asked = arguments.precisions
    if "fp32" in asked:
        raise InputError("got precision fp32, expected bf16 or fp8 for sana-streaming")
    if "auto" in asked:
        return "bf16", "fp8"
    # the weights are rounded for fp8, so it comes last
    known: tuple[Precision, ...] = ("bf16", "fp8")
    return tuple(one for one in known if one in asked)


def _size(arguments: BenchArguments) -> tuple[int, int]:
    return NATIVE if arguments.size is None else parse_size(arguments.size)


def _transformer(
    arguments: BenchArguments, device: torch.device, precisions: Sequence[Precision]
) -> Iterator[FullSpeedReport]:
    width_px, height_px = _size(arguments)
    wanted = {"eager": "bf16", "graph": "bf16", "graph fp8": "fp8"}
    left_out = {"auto": (), "off": ("graph", "graph fp8")}.get(arguments.graphs, ("eager",))
    for num_steps in arguments.steps:
        settings = FullSpeedSettings(
            width_px=width_px,
            height_px=height_px,
            num_denoising_steps=num_steps,
            num_chunks=arguments.chunks,
            num_warmup_chunks=arguments.warmup,
            variants=tuple(one for one in VARIANTS if wanted[one] in precisions and one not in left_out),
        )
        yield measure_full_speed(device, settings)
        torch.cuda.empty_cache()


def _end_to_end(
    arguments: BenchArguments, device: torch.device, precisions: Sequence[Precision]
) -> Iterator[EndToEndSpeed]:
    width_px, height_px = _size(arguments)
    first = EndToEndSettings(
        width_px=width_px,
        height_px=height_px,
        num_chunks=arguments.chunks,
        num_warmup_chunks=arguments.warmup,
    )
    # who names a size wants that size
    extra = EXTRA if arguments.size is None else ()
    rows = rows_to_measure(
        first, arguments.steps, extra, arguments.commits, arguments.loops, _vae_frames(arguments)
    )
    editor = RandomEditor(device)
    for precision in precisions:
        if precision == "fp8":
            editor.to_fp8()
        for settings in rows:
            yield measure_end_to_end(editor.pipeline(settings.vae_frames), settings)


def _memory(
    arguments: BenchArguments, device: torch.device, precisions: Sequence[Precision]
) -> Iterator[MemoryReport]:
    width_px, height_px = _size(arguments)
    editor = RandomEditor(device)
    for precision in precisions:
        if precision == "fp8":
            editor.to_fp8()
        for frames in _vae_frames(arguments):
            settings = EndToEndSettings(
                width_px=width_px, height_px=height_px, commit=arguments.commits[0], vae_frames=frames
            )
            yield measure_memory(editor.pipeline(frames), settings, CudaMeter(device))


def _vae_frames(arguments: BenchArguments) -> tuple[int | None, ...]:
    return tuple(frames or None for frames in arguments.vae_frames)


SPEED_HEAD = (
    "size",
    "streams",
    "precision",
    "steps",
    "commit",
    "loop",
    "VAE call",
    "FPS",
    "chunk ms",
    "latency ms",
    "first frame ms",
    "delay s",
    "GiB",
    "reserved",
)


def _speed_row(speed: EndToEndSpeed) -> Row:
    settings = speed.settings
    return (
        f"{settings.width_px}x{settings.height_px}",
        str(settings.num_streams),
        speed.precision,
        str(settings.num_denoising_steps),
        settings.commit,
        settings.loop,
        "chunk" if settings.vae_frames is None else str(settings.vae_frames),
        f"{speed.frames_per_second:.1f}",
        f"{speed.chunk_median_ms:.1f} / {speed.chunk_p99_ms:.1f}",
        f"{speed.latency_median_ms:.1f} / {speed.latency_p99_ms:.1f}",
        f"{speed.first_frame_ms:.1f}",
        "behind" if speed.steady_delay_s is None else f"{speed.steady_delay_s:.2f}",
        "" if speed.peak_gib is None else f"{speed.peak_gib:.2f}",
        "" if speed.reserved_gib is None else f"{speed.reserved_gib:.2f}",
    )


def _sections(reports: Sequence[FullSpeedReport]) -> Iterator[tuple[str, Row, list[Row]]]:
    """Title, head and rows of every table of the transformer's reports."""
    for report in reports:
        settings = report.settings
        where = f"{settings.width_px}x{settings.height_px}, {settings.num_denoising_steps} steps"
        far = [(one.name, f"{one.relative:.2e}") for one in report.distances]
        yield f"{where}: distances to definitions", ("compared", "relative distance"), far
        rows = [
            (
                one.name,
                one.variant,
                f"{one.median_ms:.3f}",
                f"{one.p99_ms:.3f}",
                "" if one.frames_per_second is None else f"{one.frames_per_second:.1f}",
                str(one.num_runs),
            )
            for one in report.times
        ]
        rows += [
            ("peak GPU memory, GiB", variant, f"{peak_gib:.2f}", "", "", "")
            for variant, peak_gib in report.peak_gib.items()
        ]
        head = "what", "variant", "median ms", "p99 ms", "raw frames/s", "runs"
        yield f"{where}: transformer alone", head, rows


def _memory_section(report: MemoryReport) -> tuple[str, Row, list[Row]]:
    """Title, head and rows of the table of where memory goes."""
    settings = report.settings
    call = "a chunk" if settings.vae_frames is None else f"{settings.vae_frames} latent frames"
    rows = [(name, "", f"{gib:.2f}", "") for name, gib in report.held.items()]
    rows += [(f"of the rest, {count} of {gib * 1024:.1f} MiB", "", "", "") for gib, count in report.unnamed]
    for title, works in (("", report.works), (", first chunk of another stream", report.first_chunk)):
        rows += [
            (work.work + title, f"{work.before:.2f}", f"{work.peak:.2f}", f"{work.reserved:.2f}")
            for work in works
        ]
    title = f"memory, {settings.width_px}x{settings.height_px}, {report.precision}, {call} a VAE call, GiB"
    return title, ("what", "before", "peak", "reserved"), rows


def _libraries() -> str:
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "not installed"
    return f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, Triton {triton}"


def _table(title: str, head: Row, rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    return table


def _write(
    arguments: BenchArguments,
    machine: Machine,
    reports: Sequence[FullSpeedReport],
    memories: Sequence[MemoryReport],
    speeds: Sequence[EndToEndSpeed],
) -> object:
    assert arguments.write is not None
    words = ["vivace", "bench", arguments.model, "--random-weights"]
    words += ["--steps", *map(str, arguments.steps), "--precisions", *arguments.precisions]
    words += ["--parts", *arguments.parts, "--graphs", arguments.graphs]
    words += ["--commits", *arguments.commits, "--loops", *arguments.loops]
    words += ["--chunks", str(arguments.chunks), "--warmup", str(arguments.warmup)]
    words += ["--vae-frames", *map(str, arguments.vae_frames)]
    words += ["--size", arguments.size] if arguments.size else []
    day = datetime.now(UTC).date()
    lines = page_head(arguments.model, machine, day=day, command=shlex.join(words))
    lines += [f"{_libraries()}. {EXPLANATION}", ""]
    tables = [*_sections(reports), *map(_memory_section, memories)]
    if speeds:
        tables.insert(0, ("End to end", SPEED_HEAD, [_speed_row(speed) for speed in speeds]))
    for title, head, rows in tables:
        lines += [f"## {title}", "", *markdown_table(head, rows), ""]
    path = page_path(arguments.write, arguments.model, machine, day)
    write_text(path, "\n".join(lines))
    return path
