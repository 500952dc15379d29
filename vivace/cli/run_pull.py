"""`vivace pull`: fetches a full-size model once, with progress, and says where it is."""

import json
import sys
import warnings
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from vivace.catalog.entries import ModelEntry, find_entry
from vivace.catalog.pull import GB, PullOutcome, PullPlan, pull
from vivace.cli.arguments import PullArguments
from vivace.core.config import Environment
from vivace.core.exit_code import INTERRUPTED
from vivace.models.adapters.checkpoint import UnknownTensorWarning


def run_pull(arguments: PullArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If the model cannot be pulled; the sentence says why and what to do.
        WeightsError: If what was fetched is no such model.
    """
    entry = find_entry(arguments.name)
    environment = Environment.read()
    console = Console(stderr=True, soft_wrap=True)
    notes: list[str] = []
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            _Progress(entry, console, arguments.quiet) as progress,
        ):
            warnings.simplefilter("always", UnknownTensorWarning)
            outcome = pull(entry, environment.home, progress, endpoint=environment.hub_endpoint)
            notes = [str(each.message) for each in caught if issubclass(each.category, UnknownTensorWarning)]
    except KeyboardInterrupt:
        _note(
            f"interrupted; what was fetched is kept, and `vivace pull {entry.name}` goes on from there",
        )
        return INTERRUPTED
    for note in notes:
        _note(note)
    print(_json(outcome, notes) if arguments.json else _sentence(outcome))
    return 0


def _sentence(outcome: PullOutcome) -> str:
    record = outcome.record
    state = "is there already" if outcome.was_there else "is ready"
    size = f"{record.num_bytes / GB:.2f} GB"
    return f"{record.name} {state}: {size} in {outcome.folder}; it needs no network any more"


def _json(outcome: PullOutcome, notes: list[str]) -> str:
    record = outcome.record
    return json.dumps(
        {
            "name": record.name,
            "folder": str(outcome.folder),
            "was_there": outcome.was_there,
            "num_bytes": record.num_bytes,
            "licences": list(record.licences),
            "sources": [
                {"repository": file.repository, "revision": file.revision, "path": file.path}
                for file in record.sources
            ],
            "notes": notes,
        }
    )


class _Progress:
    """The plan in words, then a bar of bytes; no bar where nobody looks."""

    def __init__(self, entry: ModelEntry, console: Console, is_quiet: bool) -> None:
        self._entry = entry
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=is_quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("fetching", total=None)

    def begins(self, plan: PullPlan) -> None:
        """Say what comes from where, under which licence, and where it goes."""
        self._console.print(f"{self._entry.name}: {self._entry.summary}", highlight=False)
        self._console.print(f"licence: {self._entry.licence}", highlight=False)
        for line in plan.licences:
            self._console.print(f"  {line}", highlight=False)
        self._console.print(
            f"{plan.num_missing_bytes / GB:.2f} of {plan.num_bytes / GB:.2f} GB to fetch, into {plan.folder}",
            highlight=False,
        )
        self._bar.update(self._task, total=plan.num_bytes)

    def advances(self, num_bytes: int) -> None:
        """More bytes are there."""
        self._bar.advance(self._task, num_bytes)

    def works_on(self, stage: str) -> None:
        """Everything was fetched."""
        self._bar.update(self._task, description=stage)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _note(sentence: str) -> None:
    print(f"vivace: {sentence}", file=sys.stderr)
