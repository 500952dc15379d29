"""What a session asks of its neighbours: an engine, connections that hand in frames, a signer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vivace.engine.live import SyncSession
from vivace.engine.terms import SessionSettings


class Opener(Protocol):
    """The part of an engine that a hub uses."""

    def open_sync(self, settings: SessionSettings) -> SyncSession:
        """A new session."""
        ...


class Signer(Protocol):
    """What signs recordings; see `vivace.server.provenance`, which needs a package of its own."""

    def sign(
        self, unsigned: Path, signed: Path, model: str, instructions: Sequence[dict[str, object]]
    ) -> None:
        """Write a signed copy."""
        ...


class Publisher(Protocol):
    """A connection that hands in frames; only the newest of a session counts."""

    def replaced(self) -> None:
        """Another publisher took over."""
        ...
