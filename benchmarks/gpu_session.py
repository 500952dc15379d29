"""All that a GPU can say about the tree in one command: the tests that need one, then every benchmark.

    python benchmarks/gpu_session.py OUT [--minutes 9.5] [--chunks 16] [--only tests end_to_end dit kernels]

All parts take 18 minutes; `--only` and `--minutes` cut them into calls. Installs nothing. Writes a log for
each part into OUT, and the result pages of `vivace bench`; prints a short table last. Parts that find no time
left are named as such. Exit code 1 if one failed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

ROOT = Path(__file__).parents[1]
# below it a part would not get beyond its imports
LEAST_S = 20
BENCH = (sys.executable, "-m", "vivace", "bench")
Lines = Iterator[str]


@dataclass(frozen=True)
class Part:
    """A command with a limit in seconds, and how its log becomes lines of the table."""

    name: str
    command: list[str]
    limit_s: float
    summary: Callable[[str], Lines]
    json_file: Path | None = None


@dataclass
class Outcome:
    """How a part went."""

    name: str
    state: str
    seconds: float
    lines: list[str] = field(default_factory=list)


def parts_of(out: Path, num_chunks: int) -> list[Part]:
    """Every part, those first that matter most where time runs out."""
    sana = [*BENCH, "sana-streaming", "--random-weights", "--json"]
    native = ["--parts", "end_to_end", "--size", "1280x704", "--steps", "4", "--loops", "overlapped"]
    memory = ["--parts", "memory", "--size", "1280x704", "--vae-frames", "0", "1"]
    long = ["--chunks", "200"]
    short = ["--chunks", str(num_chunks), "--warmup", "6"]
    tiny = [*BENCH, "tiny-edit", "--threads", "4", "--chunks", "40", "--json"]
    ltx2 = Path(tempfile.mkdtemp()) / "ltx2.json"
    forms = ["--latent-frames", "60", "--forms", "plain", "fused"]
    ltx2_command = [sys.executable, "-m", "vivace.bench.ltx2_speed", "--json", str(ltx2), *forms]
    tests = [sys.executable, str(ROOT / "benchmarks" / "gpu_tests.py"), str(out / "tests")]
    kernels = [sys.executable, str(ROOT / "benchmarks" / "sana_kernels.py"), "sweep", "vae", "stages"]
    return [
        Part("tests", tests, 110, tests_summary),
        Part(
            "end_to_end",
            [*sana, *native, *long, "--write", str(out / "end_to_end")],
            270,
            end_to_end_summary,
        ),
        Part(
            "dit",
            [*sana, "--parts", "dit", "--steps", "4", "--graphs", "dit", *long, "--write", str(out / "dit")],
            170,
            transformer_summary,
        ),
        Part("memory", [*sana, *memory], 120, memory_summary),
        Part("kernels", kernels, 100, last_lines),
        Part("ltx2", ltx2_command, 90, ltx2_summary, ltx2),
        Part(
            "rows",
            [*sana, "--parts", "end_to_end", "--steps", "4", "2", *short, "--write", str(out / "rows")],
            300,
            end_to_end_summary,
        ),
        *(
            Part(f"tiny {graphs}", [*tiny, "--graphs", graphs], 45, stages_summary)
            for graphs in ("off", "auto")
        ),
        Part("tiny fp8", [*tiny, "--precisions", "fp8"], 45, stages_summary),
    ]


def tests_summary(log: str) -> Lines:
    """The verdict and what failed."""
    lines = log.splitlines()
    yield from [line[:150] for line in lines if line.startswith(("FAILED", "ERROR"))][:12]
    yield next(
        (line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error|skipped)", line)), ""
    )


def last_lines(log: str) -> Lines:
    """What it said last."""
    yield from [line[:170] for line in log.splitlines()[-60:]]


def stages_summary(log: str) -> Lines:
    """The median of every stage."""
    for run in _report(log)["runs"]:
        stages = "  ".join(f"{stage['name']} {stage['median_ms']:.2f}" for stage in run["stages"])
        yield f"{run['precision']}: {run['frames_per_second']:.1f} FPS; ms: {stages}"


def transformer_summary(log: str) -> Lines:
    """Times, distances and memory."""
    for run in _report(log)["runs"]:
        for one in run["times"]:
            fps = "" if one["frames_per_second"] is None else f"{one['frames_per_second']:8.1f} FPS"
            times = f"{one['median_ms']:9.3f} / {one['p99_ms']:9.3f} ms"
            yield f"{one['name']:42s} {one['variant']:10s} {times} {fps}"
        far = "  ".join(f"{one['name']} {one['relative']:.1e}" for one in run["distances"])
        yield f"distances: {far}"
        yield "GiB: " + "  ".join(f"{name} {peak:.2f}" for name, peak in run["peak_gib"].items())


def end_to_end_summary(log: str) -> Lines:
    """A line for every row."""
    for one in _report(log)["end_to_end"]:
        at = one["settings"]
        size = f"{at['width_px']}x{at['height_px']} x{at['num_streams']}"
        what = (
            f"{size:12s} {one['precision']:5s}{at['num_denoising_steps']} {at['commit']:10s} {at['loop']:10s}"
        )
        if at["vae_frames"] is not None:
            what += f" VAE x{at['vae_frames']}"
        delay = "behind" if one["steady_delay_s"] is None else f"{one['steady_delay_s']:.2f} s"
        peak = "" if one["peak_gib"] is None else f"{one['peak_gib']:.2f} / {one['reserved_gib']:.2f} GiB"
        yield (
            f"{what} {one['frames_per_second']:7.1f} FPS  "
            f"chunk {one['chunk_median_ms']:.1f} / {one['chunk_p99_ms']:.1f}  "
            f"latency {one['latency_median_ms']:.1f} / {one['latency_p99_ms']:.1f}  "
            f"first {one['first_frame_ms']:.1f} ms  delay {delay}  {peak}"
        )


def memory_summary(log: str) -> Lines:
    """What is held, and the peak of every work, in GiB."""
    for one in _report(log)["memory"]:
        held = "  ".join(f"{name} {gib:.2f}" for name, gib in one["held"].items())
        yield f"{one['precision']}, VAE calls of {one['settings']['vae_frames'] or 'a chunk'}: {held}"
        for title, works in (("", one["works"]), ("first chunk: ", one["first_chunk"])):
            peaks = "  ".join(f"{work['work']} {work['peak']:.2f} / {work['reserved']:.2f}" for work in works)
            yield f"  {title}{peaks}"


def ltx2_summary(log: str) -> Lines:
    """A line for every form."""
    for row in _report(log)["rows"]:
        yield (
            f"{row['direction']} x{row['frames_per_call']} {row['form']:12s} {row['median_ms']:8.2f} / "
            f"{row['p99_ms']:8.2f} ms  {row['raw_frames_per_second']:6.0f} FPS"
        )


def _report(log: str) -> dict[str, Any]:
    """The last line of a log that is JSON."""
    return json.loads([line for line in log.splitlines() if line.startswith("{")][-1])


def run_part(part: Part, out: Path, limit_s: float) -> Outcome:
    """Run a command for at most so long; its log stays whatever happens."""
    path = out / f"{part.name.replace(' ', '_')}.log"
    began = monotonic()
    with path.open("w", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                part.command, stdout=log, stderr=subprocess.STDOUT, timeout=limit_s, cwd=ROOT, check=False
            ).returncode
            state = "ok" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            state = f"stopped after {limit_s:.0f} s"
        if part.json_file is not None and part.json_file.is_file():
            log.write("\n" + json.dumps(json.loads(part.json_file.read_text())) + "\n")
    outcome = Outcome(part.name, state, monotonic() - began)
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        outcome.lines = list(part.summary(text))
    except (ValueError, KeyError, IndexError):
        # no report: what it said last is the next best thing
        outcome.lines = [line[:150] for line in text.rstrip().splitlines()[-12:]]
    return outcome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="a folder for logs and result pages")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all parts together")
    parser.add_argument(
        "--chunks", type=int, default=16, help="chunks that count in each of the rows that are many"
    )
    parser.add_argument("--only", nargs="+", default=(), help="names of parts, or how they begin")
    asked = parser.parse_args(arguments)
    import torch

    if not torch.cuda.is_available():
        print("error: these parts need a GPU and PyTorch finds none", file=sys.stderr)
        return 2
    for folder in ("dit", "end_to_end", "rows"):
        (asked.out / folder).mkdir(parents=True, exist_ok=True)
    ends_at = monotonic() + 60 * asked.minutes
    outcomes: list[Outcome] = []
    for part in parts_of(asked.out.resolve(), asked.chunks):
        if asked.only and not part.name.startswith(tuple(asked.only)):
            continue
        left_s = ends_at - monotonic()
        if left_s < LEAST_S:
            outcomes.append(Outcome(part.name, "no time left", 0.0))
            continue
        print(f"{part.name} ...", flush=True)
        outcomes.append(run_part(part, asked.out, min(part.limit_s, left_s)))
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, Python {sys.version.split()[0]}")
    for outcome in outcomes:
        print(f"\n== {outcome.name}: {outcome.state}, {outcome.seconds:.0f} s")
        for line in outcome.lines:
            print(f"   {line}")
    return int(any(outcome.state != "ok" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
