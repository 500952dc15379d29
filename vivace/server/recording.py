"""Recordings of edited streams, one a session at a time; names every file itself, encodes none."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vivace.server.access import new_key
from vivace.server.faces import Signer
from vivace.server.hub import Hub
from vivace.server.protocol import ProtocolError, RecordingChanged
from vivace.server.settings import ServerSettings
from vivace.server.take_writer import TakeWriter


@dataclass(slots=True, eq=False)
class _Running:
    writer: TakeWriter
    timer: asyncio.TimerHandle


@dataclass(slots=True, eq=False)
class Recordings:
    """All recordings of a server: those under way, and the finished ones by their secret names."""

    settings: ServerSettings
    model: str
    signer: Signer | None = None
    _running: dict[Hub, _Running] = field(default_factory=dict)
    _finished: dict[str, Path] = field(default_factory=dict)

    def start(self, hub: Hub) -> None:
        """Record a session from the next frame on.

        Raises:
            ProtocolError: If recordings are off or one is under way.
        """
        folder = self.settings.recordings
        if folder is None:
            raise ProtocolError("not_possible", "this server keeps no recordings")
        if hub in self._running:
            raise ProtocolError("not_possible", "this session is being recorded already")
        writer = TakeWriter(
            folder / f"vivace-{datetime.now(UTC):%Y%m%d-%H%M%S}-{new_key()}.mp4",
            self.settings,
            self.model,
            self.signer,
            has_sound=hub.sound.has_sound,
        )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            hub.limits.recording_s, lambda: loop.create_task(self.stop(hub), name="recording limit")
        )
        self._running[hub] = _Running(writer, timer)
        hub.recorder = writer.put
        hub.sound.recorder = writer.put_sound
        hub.is_recording = True
        writer.start()
        hub.tell(RecordingChanged(is_recording=True))

    async def stop(self, hub: Hub) -> str | None:
        """Finish the recording of a session; the name under which it is fetched, None if it has no frame.

        Raises:
            ProtocolError: If the file could not be written.
        """
        running = self._running.pop(hub, None)
        if running is None:
            return None
        running.timer.cancel()
        hub.recorder = None
        hub.sound.recorder = None
        hub.is_recording = False
        writer = running.writer
        writer.finish()
        await asyncio.to_thread(writer.join)
        if writer.error is not None:
            hub.tell(RecordingChanged(is_recording=False))
            raise ProtocolError("not_possible", f"the recording could not be written: {writer.error}")
        name = new_key() if writer.num_frames else None
        if name is not None:
            self._finished[name] = writer.path
            self._forget_old()
        hub.tell(RecordingChanged(is_recording=False, recording=name))
        return name

    def find(self, name: str) -> Path | None:
        """The file of a finished recording; only names that were given out are known."""
        path = self._finished.get(name)
        return path if path is not None and path.is_file() else None

    def _forget_old(self) -> None:
        while len(self._finished) > self.settings.limits.num_recordings:
            oldest = next(iter(self._finished))
            self._finished.pop(oldest).unlink(missing_ok=True)
