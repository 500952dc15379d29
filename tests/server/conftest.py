"""Applications with a fake engine, served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_engine import FakeEngine
from served import Serve, Served, serving
from vivace.server.settings import Limits, ServerSettings


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with these settings; it ends with the test."""
    ends: list[Any] = []

    def start(settings: ServerSettings | None = None, engine: FakeEngine | None = None) -> Served:
        chosen = engine or FakeEngine()
        running = serving(chosen, settings or ServerSettings())  # pyright: ignore[reportArgumentType]
        address, parts = running.__enter__()
        ends.append(running)
        return Served(address, parts, chosen)

    yield start
    for running in reversed(ends):
        running.__exit__(None, None, None)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a module that need nothing special."""
    engine = FakeEngine()
    folder: Path = tmp_path_factory.mktemp("recordings")
    settings = ServerSettings(recordings=folder, limits=Limits(num_sessions=64, max_queued_frames=64))
    with serving(engine, settings) as (address, parts):  # pyright: ignore[reportArgumentType]
        yield Served(address, parts, engine)
