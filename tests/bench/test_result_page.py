"""A result page names model, machine, day and figures, and is replaced on the same day only."""

from datetime import date
from pathlib import Path

import pytest

from vivace.bench.edit_speed import SpeedReport, SpeedSettings, StageSpeed
from vivace.bench.machine import Machine
from vivace.bench.result_page import render_page, write_page
from vivace.core.errors import InputError

MACHINE = Machine(
    processor="ACME 9000 (rev. 2)",
    num_cores=2,
    num_threads=1,
    has_native_bf16=True,
    memory_gib=8.0,
    system="Linux x86_64",
    python="3.11.7",
    torch="2.13.0",
)
REPORT = SpeedReport(
    settings=SpeedSettings(
        width_px=320,
        height_px=192,
        num_denoising_steps=4,
        commit="clean_pass",
        num_chunks=40,
        num_warmup_chunks=8,
    ),
    precision="bf16",
    raw_frames_per_chunk=4,
    stages=(
        StageSpeed(name="encode", median_ms=8.0, p99_ms=9.5, num_runs=40),
        StageSpeed(name="end to end", median_ms=160.0, p99_ms=171.0, num_runs=40),
    ),
    frames_per_second=25.0,
)


def test_the_page_holds_machine_settings_and_figures():
    page = render_page(
        "tiny-edit", MACHINE, [REPORT], day=date(2026, 11, 20), command="vivace bench tiny-edit"
    )
    assert page.startswith("# tiny-edit, 2026-11-20\n")
    for part in (
        "`vivace bench tiny-edit` at commit ",
        "| processor | ACME 9000 (rev. 2) |",
        "## 320x192, bf16, 4 steps, clean_pass",
        "25.0 frames per second; 4 raw frames a chunk, 40 chunks after 8 to warm up.",
        "| encode | 8.00 / 9.50 | 2.00 |",
        "| end to end | 160.00 / 171.00 | 40.00 |",
    ):
        assert part in page


def test_pages_are_named_by_day_model_machine_and_threads(tmp_path: Path):
    def write(day: date) -> Path:
        return write_page(tmp_path, "tiny-edit", MACHINE, [REPORT], day=day, command="vivace bench")

    first = write(date(2026, 11, 20))
    assert first.name == "2026-11-20-tiny-edit-acme-9000-rev-2-1-threads.md"
    assert write(date(2026, 11, 20)) == first
    write(date(2026, 11, 21))
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputError, match="there is no folder"):
        write_page(tmp_path / "none", "m", MACHINE, [REPORT], day=date(2026, 1, 1), command="x")
