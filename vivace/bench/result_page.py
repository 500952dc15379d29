"""A dated page of measurements as Markdown, so that figures can be compared over time and machines."""

import dataclasses
import re
import subprocess
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from vivace.bench.edit_speed import SpeedReport
from vivace.bench.machine import Machine
from vivace.core.errors import InputError


def write_page(
    folder: Path, model: str, machine: Machine, reports: Sequence[SpeedReport], *, day: date, command: str
) -> Path:
    """Write the page and return its path; a page of the same day, model and machine is replaced.

    Raises:
        InputError: If the folder does not exist or cannot be written.
    """
    path = page_path(folder, Path(model).name, machine, day)
    write_text(path, render_page(model, machine, reports, day=day, command=command))
    return path


def page_path(folder: Path, what: str, machine: Machine, day: date) -> Path:
    """Where the page of a measurement goes."""
    slug = "-".join(_slug(part) for part in (what, machine.processor))
    return folder / f"{day.isoformat()}-{slug}-{machine.num_threads}-threads.md"


def write_text(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        InputError: If the folder does not exist or cannot be written.
    """
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; create it first")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def page_head(title: str, machine: Machine, *, day: date, command: str) -> list[str]:
    """The lines that every page begins with: what ran, at which commit, on which machine."""
    facts = [f"| {field.name} | {getattr(machine, field.name)} |" for field in dataclasses.fields(machine)]
    return [
        f"# {title}, {day.isoformat()}",
        "",
        f"`{command}` at commit {_commit()}.",
        "",
        "| machine | |",
        "|---|---|",
        *facts,
        "",
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def render_page(
    model: str, machine: Machine, reports: Sequence[SpeedReport], *, day: date, command: str
) -> str:
    """The page as Markdown."""
    lines = [
        *page_head(model, machine, day=day, command=command),
        "Milliseconds: median / 99th percentile. End to end: uint8 frames in main memory to edited uint8",
        "frames in main memory, at the model's size, without reading, resizing and writing video.",
        "",
    ]
    for report in reports:
        settings = report.settings
        lines += [
            f"## {settings.width_px}x{settings.height_px}, {report.precision}, "
            f"{settings.num_denoising_steps} steps, {settings.commit}",
            "",
            f"{report.frames_per_second:.1f} frames per second; {report.raw_frames_per_chunk} raw frames a "
            f"chunk, {settings.num_chunks} chunks after {settings.num_warmup_chunks} to warm up.",
            "",
            "| stage | ms a chunk | ms a raw frame |",
            "|---|---|---|",
            *(
                f"| {stage.name} | {stage.median_ms:.2f} / {stage.p99_ms:.2f} "
                f"| {stage.median_ms / report.raw_frames_per_chunk:.2f} |"
                for stage in report.stages
            ),
            "",
        ]
    return "\n".join(lines)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _commit() -> str:
    """The commit of the checkout that the package runs from; `unknown` where there is none."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
