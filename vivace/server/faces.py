"""What a hub asks of its neighbours: an engine that opens sessions, connections that hand in frames."""

from typing import Protocol

from vivace.engine.live import SyncSession
from vivace.engine.terms import SessionSettings


class Opener(Protocol):
    """The part of an engine that a hub uses."""

    def open_sync(self, settings: SessionSettings) -> SyncSession:
        """A new session."""
        ...


class Publisher(Protocol):
    """A connection that hands in frames; only the newest of a session counts."""

    def replaced(self) -> None:
        """Another publisher took over."""
        ...
