"""All sessions of a server: opens, finds and ends them within the limits; knows no transport."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from vivace.core.errors import VivaceError
from vivace.engine.engine import EngineFullError
from vivace.engine.terms import SessionSettings
from vivace.server.access import new_key
from vivace.server.bodies import OpenSession
from vivace.server.faces import Opener
from vivace.server.hub import Hub
from vivace.server.metrics import Metrics
from vivace.server.prompt_desk import check_words
from vivace.server.protocol import ProtocolError
from vivace.server.recording import Recordings
from vivace.server.settings import ServerSettings

CHECK_EVERY_S = 1.0
# A first instruction takes milliseconds; longer means that the engine is stuck.
OPEN_TIMEOUT_S = 20.0

Fit = Callable[[int, int], tuple[int, int]]


class Lobby:
    """The sessions of one server; belongs to the event loop's thread."""

    def __init__(
        self,
        engine: Opener,
        settings: ServerSettings,
        fit: Fit,
        recordings: Recordings,
        metrics: Metrics,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.is_draining = False
        self._engine = engine
        self._settings = settings
        self._fit = fit
        self._recordings = recordings
        self._metrics = metrics
        self._clock = clock
        self._hubs: dict[str, Hub] = {}
        self._num_opening = 0

    @property
    def num_sessions(self) -> int:
        """Sessions that are open or being opened."""
        return len(self._hubs) + self._num_opening

    async def open(self, wish: OpenSession) -> Hub:
        """A new session.

        Raises:
            ProtocolError: If there are too many, the server is ending, or the prompt or size cannot be used.
        """
        limits = self._settings.limits
        if self.is_draining:
            raise ProtocolError("busy", "the server is ending; try again in a moment")
        if self.num_sessions >= limits.num_sessions:
            raise ProtocolError("busy", f"all {limits.num_sessions} sessions are taken; try again later")
        check_words(wish.prompt, limits)
        self._num_opening += 1
        try:
            return await self._open(wish)
        finally:
            self._num_opening -= 1

    def find(self, name: str) -> Hub:
        """The session of that name.

        Raises:
            ProtocolError: If there is none.
        """
        hub = self._hubs.get(name)
        if hub is None or hub.is_over:
            raise ProtocolError("unknown_session", "there is no such session; it may have ended")
        return hub

    async def watch_over(self) -> None:
        """End sessions that are idle, abandoned or over, for ever."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await self.check()

    async def check(self) -> None:
        """End sessions that are idle, abandoned or over, once."""
        now_s = self._clock()
        limits = self._settings.limits
        for hub in tuple(self._hubs.values()):
            if hub.is_over:
                await self.end(hub, "ended")
            elif not hub.audience.has_clients and now_s - hub.audience.last_client_s > limits.abandoned_s:
                await self.end(hub, "abandoned", "nobody was connected any more")
            elif now_s - hub.last_active_s > limits.idle_s:
                await self.end(hub, "idle", f"there was neither a frame nor an order for {limits.idle_s:g} s")
        figures = [hub.stats() for hub in self._hubs.values()]
        self._metrics.state_bytes.set(sum(one.state_bytes for one in figures))
        taken = [(one.steps, one.steps_wanted) for one in figures if one.steps is not None]
        self._metrics.steps.set(sum(steps for steps, _ in taken) / len(taken) if taken else 0)
        self._metrics.slowed.set(sum(steps < wanted for steps, wanted in taken))

    async def end(self, hub: Hub, kind: str, reason: str = "closed by its user") -> None:
        """Close a session and forget it; its recording is finished first. Ending twice is fine."""
        if self._hubs.pop(hub.name, None) is None:
            return
        self._metrics.sessions.set(len(self._hubs))
        self._metrics.sessions_ended.labels(kind).inc()
        hub.close(reason)
        try:
            await self._recordings.stop(hub)
        except ProtocolError:
            self._metrics.refused.labels("recording").inc()
        await hub.closed()

    async def drain(self, timeout_s: float) -> None:
        """Open no more sessions, let the present ones show what is under work, then end them."""
        self.is_draining = True
        for hub in self._hubs.values():
            hub.finish()
        deadline_s = self._clock() + timeout_s
        while any(not hub.is_over for hub in self._hubs.values()) and self._clock() < deadline_s:
            await asyncio.sleep(0.02)
        for hub in tuple(self._hubs.values()):
            await self.end(hub, "shutdown", "the server ends")

    async def _open(self, wish: OpenSession) -> Hub:
        size = None
        if wish.width_px is not None and wish.height_px is not None:
            size = self._fit(wish.width_px, wish.height_px)
        try:
            settings = SessionSettings(
                prompt=wish.prompt,
                size=size,
                seed=wish.seed,
                num_denoising_steps=wish.steps,
                least_denoising_steps=self._settings.least_denoising_steps,
                strength=wish.strength,
                native_fps=self._settings.native_fps,
                rewind_s=self._settings.rewind_s,
                idle_timeout_s=None,
            )
            hub = Hub(
                name=new_key(),
                key=new_key(),
                engine=self._engine,
                settings=settings,
                limits=self._settings.limits,
                metrics=self._metrics,
                clock=self._clock,
            )
        except EngineFullError as error:
            raise ProtocolError("busy", str(error)) from None
        except VivaceError as error:
            raise ProtocolError("bad_prompt", str(error)) from None
        try:
            await asyncio.wait_for(asyncio.wrap_future(hub.session.opened), OPEN_TIMEOUT_S)
        except (VivaceError, TimeoutError) as error:
            hub.close("it could not be opened")
            await hub.closed()
            sentence = str(error) or "the model did not answer in time"
            raise ProtocolError("bad_prompt", sentence) from None
        self._hubs[hub.name] = hub
        self._metrics.sessions.set(len(self._hubs))
        self._metrics.sessions_opened.inc()
        return hub
