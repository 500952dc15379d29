"""Entry point: finds the command, parses its arguments, turns errors into a sentence and an exit code."""

import difflib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import tyro

from vivace import __version__
from vivace.cli.arguments import (
    Arguments,
    BenchArguments,
    DemoArguments,
    EditArguments,
    EvalArguments,
    InfoArguments,
    LiveBenchArguments,
    ModelsArguments,
    PullArguments,
    ServeArguments,
)
from vivace.core.errors import VivaceWarning
from vivace.core.exit_code import BAD_INPUT, OK, exit_code_of


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its arguments, a line for the overview, and what its help says before the options."""

    arguments: type[Arguments]
    summary: str
    description: str


COMMANDS = {
    "edit": Command(
        EditArguments,
        "edit a video, a camera or a network stream with words",
        """Edit a video with words. Every source frame is edited; frame times, duration and sound stay.

examples:
  vivace edit in.mp4 -p "make it a snowy night" -o out.mp4
  vivace edit in.mp4 -p "turn it into an oil painting" -o out.mp4 --at 4s "turn it into a pencil sketch"
  vivace edit camera:0 -p "make it look like an old movie" -o out.mkv --duration 30s
  vivace edit in.mov -p "make it foggy" -o frames/ --start 1:05.5 --duration 4s --compare

exit codes: 0 done, 2 bad input, 3 the input was damaged and edited as far as possible, 130 interrupted (the
result is complete up to there)""",
    ),
    "demo": Command(
        DemoArguments,
        "edit the clip that comes with the source code and compare",
        """Edit a short clip; writes the result, a side-by-side video and a contact sheet.

examples:
  vivace demo
  vivace demo in.mp4 -o out/mine -p "make it autumn" """.rstrip(),
    ),
    "serve": Command(
        ServeArguments,
        "edit a camera live in the browser",
        """Serve a page that edits a camera, a shared screen or a clip live, over WebRTC or WebSocket.

examples:
  vivace serve
  vivace serve --port 9000 --recordings takes/
  vivace serve --host 0.0.0.0 --tls --ice-server turn:user:password@turn.example.org:3478

It needs the extra packages of `pip install 'vivace[serve]'`. docs/serving.md describes protocol, limits and
metrics, and how to publish from OBS.""",
    ),
    "models": Command(
        ModelsArguments,
        "list the models with licence and size",
        """List the models: what they do, their licence and size, and whether they are bundled.

examples:
  vivace models
  vivace models --json""",
    ),
    "info": Command(
        InfoArguments,
        "describe a video",
        """Describe a video: size, frame rate, duration, codecs and sound.

examples:
  vivace info in.mp4
  vivace info rtsp://192.168.1.20/stream --json""",
    ),
    "pull": Command(
        PullArguments,
        "fetch the weights of a full-size model",
        """Fetch the official weights of a full-size model and convert them once; afterwards it works offline.

examples:
  vivace pull sana-streaming
  VIVACE_HOME=~/models vivace pull sana-streaming-bidirectional

It shows each licence, goes on where an interrupted download ended, and checks every file. VIVACE_HOME says
where the weights lie. It needs the extra packages of `pip install 'vivace[sana]'`.

exit codes: 0 the model is there, 2 it cannot be fetched (the sentence says why), 130 interrupted""",
    ),
    "bench": Command(
        BenchArguments,
        "measure the speed of a model on this machine",
        """Measure the speed of a model: every stage of a chunk, and host frames in to host frames out.

examples:
  vivace bench tiny-edit
  vivace bench tiny-edit --precisions fp32 bf16 --steps 2 4 --threads 2 --write benchmarks/results""",
    ),
    "bench live": Command(
        LiveBenchArguments,
        "measure live sessions: delay, jitter, missed deadlines",
        """Measure live sessions with synthetic cameras: time to first frame, delay and what it is made of,
jitter and missed deadlines, in one process and over loopback with users in a process of their own.

examples:
  vivace bench live
  vivace bench live --over webrtc --duration 600 --write benchmarks/results
  vivace bench live --sweep --duration 10

Over a network it needs the extra packages of `pip install 'vivace[serve]'`.""",
    ),
    "eval": Command(
        EvalArguments,
        "measure how good a model's edits are",
        """Measure the edits of a model on held-out clips against programmatic targets.

examples:
  vivace eval tiny-edit --clips evaluation --lpips lpips_alex.safetensors --out out/eval
  vivace eval tiny-edit --clips evaluation --only bikes_001 --parts fidelity --families snow --frames 33""",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (None: that of the process) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    with _warnings_as_sentences():
        return exit_code_of(lambda: _run(words))


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Print our own warnings like errors: one sentence, without the place in the source."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_sentence(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, VivaceWarning):
                print(f"vivace: {message}", file=sys.stderr)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_sentence
        yield


def overview() -> str:
    """What `vivace --help` prints."""
    width = max(len(name) for name in COMMANDS) + 2
    lines = [f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: vivace COMMAND [OPTIONS]",
            "",
            "Edit a live video with words, on your own machine.",
            "",
            "commands:",
            *lines,
            "",
            "vivace COMMAND --help says more; vivace --version prints the version.",
            "",
            "example:",
            '  vivace edit in.mp4 -p "make it a snowy night" -o out.mp4',
        ]
    )


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return OK if words else BAD_INPUT
    if words[0] in ("-V", "--version"):
        print(f"vivace {__version__}")
        return OK
    # "bench live" is a command of two words
    is_pair = " ".join(words[:2]) in COMMANDS
    name, rest = (" ".join(words[:2]), words[2:]) if is_pair else (words[0], words[1:])
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
        print(f"vivace: unknown command {name!r}; {hint}", file=sys.stderr)
        return BAD_INPUT
    command = COMMANDS[name]
    try:
        arguments = tyro.cli(
            command.arguments, args=rest, prog=f"vivace {name}", description=command.description
        )
    except SystemExit as stop:
        # tyro has printed the help (0) or what is wrong with the arguments (2)
        return OK if not stop.code else BAD_INPUT
    return _run_command(arguments)


def _run_command(arguments: Arguments) -> int:
    # Commands are imported when they are asked for: torch alone takes a second.
    match arguments:
        case EditArguments():
            from vivace.cli.edit_video import run_edit

            return run_edit(arguments)
        case ServeArguments():
            from vivace.cli.run_serve import run_serve

            return run_serve(arguments)
        case DemoArguments():
            from vivace.cli.demo import run_demo

            return run_demo(arguments)
        case ModelsArguments():
            from vivace.cli.show import show_models

            return show_models(arguments)
        case InfoArguments():
            from vivace.cli.show import show_info

            return show_info(arguments)
        case PullArguments():
            from vivace.cli.run_pull import run_pull

            return run_pull(arguments)
        case BenchArguments():
            from vivace.cli.run_bench import run_bench

            return run_bench(arguments)
        case LiveBenchArguments():
            from vivace.cli.run_bench_live import run_bench_live

            return run_bench_live(arguments)
        case EvalArguments():
            from vivace.cli.run_eval import run_eval

            return run_eval(arguments)
