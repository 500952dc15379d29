"""What an edit did, as a typed value, as a table for people and as one line of JSON; measures nothing."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptReport:
    """An instruction that was followed: asked for at `at_s` seconds, from raw frame `from_frame` on."""

    at_s: float
    words: str
    from_frame: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CropReport:
    """What was cut off the source so that it fits the model, in source pixels."""

    left_px: int
    top_px: int
    right_px: int
    bottom_px: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EditReport:
    """The result of `vivace edit`; `--json` prints these fields.

    Attributes:
        model: Name or folder of the model.
        device: Where it ran, for example `cpu` or `cuda:0`.
        precision: `fp32`, `bf16` or `fp8`.
        input: What was read.
        output: What was written.
        compare: The side-by-side video, if one was asked for.
        contact_sheet: The picture of frames before and after, if one was asked for.
        source_width: Width of the source as displayed, in pixels.
        source_height: Height likewise.
        width: Width of the result in pixels.
        height: Height likewise.
        cropped: What the change of aspect cut off.
        steps: Denoising steps a chunk.
        commit: How a chunk entered the memory, `clean_pass` or `last_step`.
        seed: As given.
        frames_in: Frames that were read from the source.
        frames_out: Frames that were written; the same number unless `--fps` resamples.
        load_s: Seconds to load the model.
        ttff_s: Seconds from opening the source to the first edited frame, without `load_s`.
        fps_end_to_end: `frames_out` over the seconds from opening the source to the finished file, without
            `load_s`.
        chunk_ms_p50: Median milliseconds from a chunk's last source frame to its edited frames. On a GPU
            that includes waiting for the chunks before it. The first chunk counts only if there is no other.
        chunk_ms_p99: 99th percentile likewise.
        peak_rss_mib: Most main memory that the process has held.
        was_truncated: Whether the source ended early or was damaged.
        truncation_reason: How.
        was_interrupted: Whether Ctrl-C ended the edit.
        audio: What happened to each sound track: copied, encoded anew or left out.
        prompts: The instructions that were followed, in order.
    """

    model: str
    device: str
    precision: str
    input: str
    output: str
    compare: str | None
    contact_sheet: str | None
    source_width: int
    source_height: int
    width: int
    height: int
    cropped: CropReport
    steps: int
    commit: str
    seed: int
    frames_in: int
    frames_out: int
    load_s: float
    ttff_s: float
    fps_end_to_end: float
    chunk_ms_p50: float
    chunk_ms_p99: float
    peak_rss_mib: float
    was_truncated: bool
    truncation_reason: str | None
    was_interrupted: bool
    audio: tuple[str, ...]
    prompts: tuple[PromptReport, ...]


def to_json_line(report: EditReport) -> str:
    """The report as one line of JSON."""
    return json.dumps(dataclasses.asdict(report))


def print_table(report: EditReport, console: Console) -> None:
    """The figures that people ask for."""
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in _rows(report):
        table.add_row(name, value, style="")
    console.print(table)


def chunk_percentiles(chunk_ms: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile, without the first chunk (shorter and cold) where there are others."""
    kept = chunk_ms[1:] if len(chunk_ms) > 1 else chunk_ms
    if not len(kept):
        return 0.0, 0.0
    median, high = np.percentile(np.asarray(kept), (50, 99))
    return float(median), float(high)


def _rows(report: EditReport) -> list[tuple[str, str]]:
    crop = report.cropped
    cut = f"{crop.left_px + crop.right_px}x{crop.top_px + crop.bottom_px} px"
    is_cut = any(dataclasses.astuple(crop))
    rows = [
        ("model", f"{report.model} ({report.device}, {report.precision}, {report.steps} steps)"),
        (
            "resolution",
            f"{report.width}x{report.height} from {report.source_width}x{report.source_height}"
            + (f", {cut} cropped" if is_cut else ""),
        ),
        ("frames", f"{report.frames_in} in, {report.frames_out} out"),
        ("end to end", f"{report.fps_end_to_end:.1f} frames per second"),
        ("first frame", f"after {report.ttff_s * 1000:.0f} ms (model loaded in {report.load_s:.1f} s)"),
        ("chunk", f"{report.chunk_ms_p50:.0f} ms median, {report.chunk_ms_p99:.0f} ms p99"),
        ("peak memory", f"{report.peak_rss_mib:.0f} MiB"),
    ]
    if report.audio:
        rows.append(("sound", ", ".join(report.audio)))
    rows.append(("result", report.output))
    if report.compare:
        rows.append(("side by side", report.compare))
    if report.contact_sheet:
        rows.append(("contact sheet", report.contact_sheet))
    return rows
