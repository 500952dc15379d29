"""What a training run tells: log.jsonl, lines on stderr and a progress bar there; measures nothing itself."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LogLine:
    """One line of log.jsonl; means run over the finite values since the line before, None without any.

    `elapsed_seconds` counts over all resumes; `peak_memory_mib` is the GPU's peak, or this process's resident
    memory on a CPU; `num_skipped` counts train steps left out because a loss or gradient was not finite.
    """

    train_step: int
    loss: float | None
    parts: dict[str, float | None]
    grad_norm: float | None
    learning_rate: float
    elapsed_seconds: float
    samples_per_second: float
    peak_memory_mib: float
    num_skipped: int


class RunningMeans:
    """Means of named scalars, summed on their device, so that adding never waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in one scalar; one that is not finite is left out."""
        value = value.detach().float()
        is_finite = torch.isfinite(value)
        value = torch.where(is_finite, value, 0.0)
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        count = is_finite.float()
        self._counts[name] = self._counts[name] + count if name in self._counts else count

    def take(self) -> dict[str, float | None]:
        """The means so far (waits for the device); starts again from nothing."""
        sums = {name: float(value) for name, value in self._sums.items()}
        counts = {name: float(value) for name, value in self._counts.items()}
        self._sums, self._counts = {}, {}
        return {name: sums[name] / counts[name] if counts[name] else None for name in sums}


class TrainLog:
    """Appends lines to log.jsonl and shows them; a context manager, so that the bar is always taken down.

    On opening, lines after `train_step` are dropped: a resumed run writes them again.
    """

    def __init__(self, path: Path, *, train_step: int, console: Console | None = None) -> None:
        self.path = path
        self.last_line = _keep_lines_until(path, train_step)
        self._console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=1.0)

    def __enter__(self) -> "TrainLog":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_progress(self, fraction: float) -> None:
        """Move the bar to `fraction` in [0, 1]; does nothing without a terminal."""
        self._progress.update(self._task, completed=fraction)

    def say(self, sentence: str) -> None:
        """Print one sentence on stderr, above the bar."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def write(self, line: LogLine, fraction_done: float) -> None:
        """Append a line to the file and show it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line), allow_nan=False) + "\n")
        self.last_line = line
        self.say(f"{_as_text(line)}  {fraction_done:.1%} done")
        self.show_progress(fraction_done)


def read_log(path: Path) -> list[LogLine]:
    """The lines of a log.jsonl; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    complete = [
        line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1:] == "\n"
    ]
    return [LogLine(**json.loads(line)) for line in complete]


def _keep_lines_until(path: Path, train_step: int) -> LogLine | None:
    kept = [line for line in read_log(path) if line.train_step <= train_step]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(asdict(line)) + "\n" for line in kept), encoding="utf-8")
    os.replace(part, path)
    return kept[-1] if kept else None


def _as_text(line: LogLine) -> str:
    numbers = {"loss": line.loss, **line.parts, "grad": line.grad_norm, "lr": line.learning_rate}
    shown = "  ".join(
        f"{name} {'none' if value is None else f'{value:.4g}'}" for name, value in numbers.items()
    )
    skipped = f"  {line.num_skipped} skipped" if line.num_skipped else ""
    return f"train step {line.train_step}  {shown}  {line.samples_per_second:.4g} samples/s{skipped}"
