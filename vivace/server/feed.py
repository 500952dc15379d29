"""A source that is no browser: a thread reads a camera, stream or clip and hands frames to a session."""

import asyncio
import logging
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import numpy as np

from vivace.core.errors import InputError
from vivace.data.video_source import VideoSource, open_source
from vivace.server.hub import Hub
from vivace.server.protocol import ProtocolError

# A source that ended, or could not be opened, is tried again after this time.
AGAIN_S = 1.0
# Times go on by this much where a source begins again.
SEAM_S = 0.1

_log = logging.getLogger(__name__)


class Feed:
    """Feeds one session until it is closed; of frames that come while one is handed in the newest wins.

    Sources without a clock of their own, which files are, are read at the speed of life and begin again at
    their end. While another connection hands in frames the feed's own are dropped.
    """

    def __init__(self, hub: Hub, spec: str | Path) -> None:
        self._hub = hub
        self._spec = spec
        self._loop = asyncio.get_running_loop()
        self._is_closed = Event()
        self._newest: tuple[np.ndarray, float] | None = None
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
                with open_source(self._spec) as source:
                    begins_s = self._pass_on(source, begins_s) + SEAM_S
            except InputError as error:
                _log.warning("the source of the session: %s", error)
            self._is_closed.wait(AGAIN_S)

    def _pass_on(self, source: VideoSource, begins_s: float) -> float:
        """Hand all frames in at their time; the time of the last one, counted from `begins_s` on."""
        start_s, first_s, last_s = monotonic(), None, begins_s
        for frame in source:
            first_s = float(frame.time_s) if first_s is None else first_s
            last_s = begins_s + float(frame.time_s) - first_s
            # what comes live is never early
            early_s = start_s + last_s - begins_s - monotonic()
            if self._is_closed.wait(max(0.0, early_s)) or self._loop.is_closed():
                break
            is_waiting = self._newest is not None
            self._newest = (frame.pixels, last_s)
            if not is_waiting:
                self._loop.call_soon_threadsafe(self._hand_in)
        return last_s

    def _hand_in(self) -> None:
        newest, self._newest = self._newest, None
        audience = self._hub.audience
        if newest is None or self._is_closed.is_set():
            return
        if self._is_replaced and not audience.has_publisher:
            self._is_replaced = False
            audience.set_publisher(self)
        if self._is_replaced:
            return
        try:
            self._hub.push(*newest)
        except ProtocolError as error:
            _log.warning("the session takes no frames: %s", error)
            self._is_closed.set()
