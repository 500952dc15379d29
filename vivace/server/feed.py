"""A source that is no browser: a thread reads a camera, stream or clip and hands it to a session."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import numpy as np

from vivace.core.errors import InputError
from vivace.data.video_source import VideoSource, open_source
from vivace.server.hub import Hub
from vivace.server.protocol import ProtocolError
from vivace.server.sound import ArrivalClock, Samples
from vivace.server.source_sound import MAX_BYTES, SourceSound

# A source that ended, or could not be opened, is tried again after this time.
AGAIN_S = 1.0
# Times go on by this much where a source begins again.
SEAM_S = 0.1
# Pieces of sound on their way to the event loop; one that does not come to them loses the oldest.
MAX_PIECES = 256

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Round:
    """One reading of a source: what lies between its clock, the session's and that of the machine.

    A moment `media_s` of the source is `begins_s + media_s - first_s` of the session, and due at
    `start_s + media_s - first_s` by the machine. `arrivals` tells when pictures really came.
    """

    begins_s: float
    start_s: float
    first_s: float
    arrivals: ArrivalClock = field(default_factory=ArrivalClock)

    def session_s(self, media_s: float) -> float:
        return self.begins_s + media_s - self.first_s

    def due_s(self, media_s: float) -> float:
        return self.start_s + media_s - self.first_s

    def media_s(self, now_s: float) -> float:
        return now_s - self.start_s + self.first_s


class Feed:
    """Feeds one session until it is closed; of frames that come while one is handed in the newest wins.

    Sources without a clock of their own, which files are, are read at the speed of life and begin again at
    their end. Their sound goes along, in step by the source's own times, and ends with the last picture.
    While another connection hands in frames the feed's own are dropped, with their sound.
    """

    def __init__(self, hub: Hub, spec: str | Path, clock: Callable[[], float] = perf_counter) -> None:
        self._hub = hub
        self._spec = spec
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._is_closed = Event()
        self._newest: tuple[np.ndarray, float, _Round] | None = None
        self._sound: deque[tuple[Samples, float, _Round]] = deque(maxlen=MAX_PIECES)
        self._is_replaced = False
        # a source that is waited for keeps nobody from ending the server
        self._thread = Thread(target=self._read, name="vivace-feed", daemon=True)
        hub.audience.set_publisher(self)
        self._thread.start()

    def replaced(self) -> None:
        """Another connection hands in the frames of this session now."""
        self._is_replaced = True

    async def close(self) -> None:
        """Read no more; the thread of a source that says nothing is left behind."""
        self._is_closed.set()
        self._hub.audience.remove_publisher(self)
        await asyncio.to_thread(self._thread.join, AGAIN_S)

    def _read(self) -> None:
        begins_s = 0.0
        while not self._is_closed.is_set():
            try:
                with open_source(self._spec, has_audio=True, max_audio_bytes=MAX_BYTES) as source:
                    begins_s = self._pass_on(source, begins_s) + SEAM_S
            except InputError as error:
                _log.warning("the source of the session: %s", error)
            self._is_closed.wait(AGAIN_S)

    def _pass_on(self, source: VideoSource, begins_s: float) -> float:
        """Hand everything in at its time; that of the last picture, counted from `begins_s` on."""
        sound = SourceSound(source)
        this: _Round | None = None
        last_s = begins_s
        for frame in source:
            media_s = float(frame.time_s)
            sound.read()
            if this is None:
                # before any sound: that is placed by the pictures
                this = _Round(begins_s, self._clock(), media_s)
            # what comes live is never early
            elif not self._wait(this.due_s(media_s), sound, this):
                break
            if self._loop.is_closed():
                break
            last_s = this.session_s(media_s)
            is_waiting = self._newest is not None
            self._newest = (frame.pixels, last_s, this)
            if not is_waiting:
                self._loop.call_soon_threadsafe(self._hand_in)
        if this is not None and not self._is_closed.is_set():
            self._wait(this.due_s(float(source.end_s)), sound, this)
        if sound.num_damaged:
            _log.warning("%d packets of the source's sound were damaged", sound.num_damaged)
        return last_s

    def _wait(self, due_s: float, sound: SourceSound, this: _Round) -> bool:
        """Wait for a moment and hand in the sound until then; false if the feed is closed meanwhile."""
        while not self._is_closed.is_set():
            now_s = self._clock()
            # sound of a source that is late is late as well, and due at once
            pieces = sound.take(this.media_s(now_s))
            if pieces and not self._loop.is_closed():
                self._sound.extend((samples, at_s, this) for samples, at_s in pieces)
                self._loop.call_soon_threadsafe(self._hand_in)
            if now_s >= due_s:
                return True
            next_s = due_s if sound.next_s is None else min(due_s, this.due_s(sound.next_s))
            self._is_closed.wait(max(0.0, next_s - self._clock()))
        return False

    def _hand_in(self) -> None:
        newest, self._newest = self._newest, None
        pieces = [self._sound.popleft() for _ in range(len(self._sound))]
        audience = self._hub.audience
        if self._is_closed.is_set():
            return
        if self._is_replaced and not audience.has_publisher:
            self._is_replaced = False
            audience.set_publisher(self)
        if self._is_replaced:
            return
        if newest is not None:
            pixels, at_s, this = newest
            this.arrivals.arrival_s(at_s, self._clock())
            try:
                self._hub.push(pixels, at_s)
            except ProtocolError as error:
                _log.warning("the session takes no frames: %s", error)
                self._is_closed.set()
        for samples, media_s, this in pieces:
            # sound belongs to the picture of its own time, whenever either of them was read
            if (offset_s := this.arrivals.offset_s) is not None:
                self._hub.push_sound_arrived(samples, this.session_s(media_s) + offset_s)
