"""The progress bar of an edit, on standard error; silent where nobody looks."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class EditProgress:
    """Shows how many frames are edited, how fast, and how long it will take; `num_frames` None is endless."""

    def __init__(self, num_frames: int | None, *, is_quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("editing"),
            BarColumn(),
            TextColumn("{task.completed:.0f}" + (f"/{num_frames} frames" if num_frames else " frames")),
            _FramesPerSecond(),
            TimeRemainingColumn() if num_frames else TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=is_quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task("editing", total=num_frames)

    def advance(self, num_frames: int) -> None:
        """More frames are done."""
        self._progress.advance(self._task, num_frames)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class _FramesPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} FPS")
