"""`vivace bench live`: times live sessions in one process and over loopback, prints and writes figures."""

import gc
import json
import os
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from vivace.bench.live_speed import LiveSpeed, LiveSpeedSettings, measure_live, time_rows
from vivace.bench.live_sweep import NUMBERS, sweep_live, sweep_table
from vivace.bench.machine import Machine, describe_machine, peak_rss_mib
from vivace.bench.result_page import page_head, page_path, write_text
from vivace.catalog.editor import Editor, open_editor
from vivace.catalog.load import has_native_bf16, live_threads
from vivace.cli.live_arguments import LiveBenchArguments
from vivace.cli.quantities import parse_size
from vivace.core.config import to_json
from vivace.core.errors import InputError
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.warm_up import warm_up

EXPLANATION = """\
Times in milliseconds. "Arrival" is the moment when the engine gets a frame; a chunk is complete with its last
frame, and its deadline is when the next one is complete. The model's work on a chunk also counts what it did
for other sessions meanwhile. Over loopback the users are a process of their own on the same cores, and delay
is from a frame handed to the sender's codec to its edited form decoded by the viewer; the edit is computed in
full but shown at strength 0, so that the number drawn into every frame can be read again at the end; frames
of the first two seconds count for the first frame only."""


def run_bench_live(arguments: LiveBenchArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If the model, an option or the folder for the result cannot be used.
    """
    if arguments.write is not None and not arguments.write.is_dir():
        raise InputError(f"there is no folder {arguments.write} to write the result into; create it first")
    run = arguments.run
    editor = open_editor(
        run.model,
        device=run.device,
        dtype=run.precision,
        num_threads=live_threads(run.threads),
        graphs=arguments.graphs,
        vae_frames=run.vae_frames,
    )
    # collections of everything that was imported would be pauses of a tenth of a second in between
    gc.collect()
    gc.freeze()
    machine = describe_machine(editor.pipeline.device, has_native_bf16=has_native_bf16())
    console = Console(stderr=arguments.json)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    console.print(
        f"{machine.processor}, {machine.num_threads} threads, torch {machine.torch}, "
        f"load average before {load:.2f}"
    )
    sections: list[str] = []
    results: list[object] = []
    for section, result in _sweep(arguments, editor) if arguments.sweep else _each(arguments, editor):
        console.print(f"\n{section}", soft_wrap=True, markup=False, highlight=False)
        sections.append(section)
        results += result
    if arguments.write is not None:
        path = _write(arguments, machine, load, sections)
        console.print(f"\nwritten to {path}")
    if arguments.json:
        facts = {
            "model": run.model,
            "machine": to_json(machine),
            "load_average": load,
            "peak_rss_mib": peak_rss_mib(),
            "runs": results,
        }
        print(json.dumps(facts))
    return 0


def _each(arguments: LiveBenchArguments, editor: Editor) -> Iterator[tuple[str, list[object]]]:
    """A section for every way and number of sessions, with its plain values."""
    for over in arguments.over:
        for num_sessions in arguments.sessions:
            section, result = _measure(arguments, editor, over, num_sessions)
            yield section, [result]


def _sweep(arguments: LiveBenchArguments, editor: Editor) -> Iterator[tuple[str, list[object]]]:
    """One section about all numbers of sessions in one process."""
    numbers = NUMBERS if arguments.sessions == (1,) else arguments.sessions
    speeds: list[LiveSpeed] = []
    for speed in sweep_live(editor, _settings(arguments, editor, 1), numbers):
        print(f"{speed.settings.num_sessions} sessions: {speed.fps_out:.2f} FPS each", file=sys.stderr)
        speeds.append(speed)
    section = f"## More and more sessions in one process\n\n{sweep_table(speeds)}"
    yield section, [{"over": "process", **_plain(speed)} for speed in speeds]


def _settings(arguments: LiveBenchArguments, editor: Editor, num_sessions: int) -> LiveSpeedSettings:
    width_px, height_px = _size(arguments, editor)
    return LiveSpeedSettings(
        num_sessions=num_sessions,
        duration_s=arguments.duration,
        fps=arguments.fps,
        width_px=width_px,
        height_px=height_px,
        num_denoising_steps=arguments.steps,
        least_denoising_steps=arguments.min_steps,
        stagger_s=arguments.stagger,
        rewind_s=arguments.rewind,
        max_batch=arguments.batch,
    )


def _size(arguments: LiveBenchArguments, editor: Editor) -> tuple[int, int]:
    native = editor.defaults.native_width_px, editor.defaults.native_height_px
    return native if arguments.size is None else parse_size(arguments.size)


def _measure(
    arguments: LiveBenchArguments, editor: Editor, over: str, num_sessions: int
) -> tuple[str, object]:
    """One measurement as Markdown and as plain values."""
    width_px, height_px = _size(arguments, editor)
    if over == "process":
        speed = measure_live(editor, _settings(arguments, editor, num_sessions))
        return _section("in one process", num_sessions, speed.table()), {"over": over, **_plain(speed)}
    try:
        from vivace.server.load_run import LoadSettings, measure_load
    except ModuleNotFoundError as error:
        raise InputError(
            f"measuring over {over} needs the package {error.name}, which is not installed; "
            "install it with: pip install 'vivace[serve]', or take --over process"
        ) from None
    settings = LoadSettings(
        over="webrtc" if over == "webrtc" else "websocket",
        num_sessions=num_sessions,
        duration_s=arguments.duration,
        fps=arguments.fps,
        width_px=width_px,
        height_px=height_px,
        num_denoising_steps=arguments.steps,
        least_denoising_steps=arguments.min_steps,
        rewind_s=arguments.rewind,
    )
    limits = EngineSettings(max_sessions=num_sessions, max_batch=arguments.batch)
    warm_up(editor.pipeline, editor.defaults, (width_px, height_px))
    with Engine(editor.pipeline, editor.defaults, limits) as engine:
        load = measure_load(engine, settings)
    counts = load.counts
    lines = [
        f"{num_sessions} sessions at {arguments.fps:g} frames a second, {width_px}x{height_px}, "
        f"{arguments.duration:g} s: {load.fps_out:.1f} frames a second out, {load.num_sent} sent, "
        f"{load.num_received} came back, {counts.frames_dropped_in} dropped because the model was busy, "
        f"{counts.deadline_misses} of {counts.chunks} chunks late, {counts.steps_a_chunk:.1f} steps a chunk.",
        "",
        *time_rows(
            {
                "time to first frame": load.ttff,
                "delay, sent to decoded": load.delay,
                "of it chunk buffering": load.buffering,
                "of it the model's work": load.model,
                "of it added by engine and transport": load.added,
                "added: sender to session": load.leg_in,
                "added: engine": load.engine,
                "added: held back to play evenly": load.held,
                "added: shown to decoded": load.leg_out,
                "jitter": load.jitter,
                "prompt change to first frame": load.prompt_change,
            }
        ),
    ]
    name = "WebRTC" if over == "webrtc" else "WebSocket"
    return _section(f"over loopback {name}", num_sessions, "\n".join(lines)), {"over": over, **_plain(load)}


def _plain(speed: object) -> dict[str, object]:
    values = to_json(speed)
    assert isinstance(values, dict)
    return dict(values)


def _section(where: str, num_sessions: int, body: str) -> str:
    many = "one session" if num_sessions == 1 else f"{num_sessions} sessions"
    return f"## {many} {where}\n\n{body}"


def _write(arguments: LiveBenchArguments, machine: Machine, load: float, sections: list[str]) -> Path:
    assert arguments.write is not None
    day = datetime.now(UTC).date()
    how = "sweep" if arguments.sweep else "-".join(arguments.over)
    name = f"live-{Path(arguments.run.model).name}-{how}"
    path = page_path(arguments.write, name, machine, day)
    head = page_head(
        f"Live sessions of {Path(arguments.run.model).name}", machine, day=day, command=_command(arguments)
    )
    busy = (
        f"Load average of the last minute before the run: {load:.2f}; what else ran took its share, so rates "
        "are lower bounds."
    )
    write_text(path, "\n".join([*head, EXPLANATION, "", busy, "", "\n\n".join(sections), ""]))
    return path


def _command(arguments: LiveBenchArguments) -> str:
    """The command line that repeats the measurement."""
    run = arguments.run
    words = ["vivace", "bench", "live"]
    words += ["--sweep"] if arguments.sweep else ["--over", *arguments.over]
    words += ["--sessions", *map(str, arguments.sessions)]
    words += ["--duration", f"{arguments.duration:g}", "--fps", f"{arguments.fps:g}"]
    words += ["--size", arguments.size] if arguments.size else []
    words += ["--steps", str(arguments.steps)] if arguments.steps else []
    words += ["--min-steps", str(arguments.min_steps)] if arguments.min_steps else []
    words += ["--graphs", arguments.graphs] if arguments.graphs != "auto" else []
    words += ["--batch", str(arguments.batch)] if arguments.batch else []
    words += ["--rewind", f"{arguments.rewind:g}", "--stagger", f"{arguments.stagger:g}"]
    words += ["--model", run.model] if run.model != "tiny-edit" else []
    words += ["--device", run.device] if run.device != "auto" else []
    words += ["--precision", run.precision] if run.precision != "auto" else []
    words += ["--vae-frames", str(run.vae_frames)] if run.vae_frames else []
    words += ["--threads", str(run.threads)] if run.threads else []
    return shlex.join(words)
