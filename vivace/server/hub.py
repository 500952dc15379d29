"""One session in the server: clients on one side, the engine's session on the other; knows no transport."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import numpy as np
from jaxtyping import UInt8

from vivace.core.errors import VivaceError
from vivace.engine.live import SyncSession
from vivace.engine.telemetry import RecentTimes
from vivace.engine.terms import (
    Controls,
    EditedFrame,
    Phase,
    RewindReceipt,
    SessionEndedError,
    SessionSettings,
)
from vivace.server.audience import Audience
from vivace.server.faces import Opener
from vivace.server.metrics import Metrics
from vivace.server.outlet import ShownFrame
from vivace.server.playout import Playout
from vivace.server.prompt_desk import PromptDesk
from vivace.server.protocol import (
    ControlsSet,
    Ended,
    PauseChanged,
    ProtocolError,
    Rewound,
    ServerMessage,
    Stats,
    Welcome,
)
from vivace.server.settings import Limits
from vivace.server.sound import Samples
from vivace.server.sound_desk import SoundDesk

# Edited frames wait at most this many seconds of video for their turn to be shown.
MAX_PLAYOUT_S = 1.5
STATS_EVERY_S = 1.0


class Hub:
    """Everything about one session. All methods belong to the event loop's thread."""

    def __init__(
        self,
        *,
        name: str,
        key: str,
        engine: Opener,
        settings: SessionSettings,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.name = name
        self.key = key
        self.settings = settings
        self.limits = limits
        self.is_over = False
        self.last_active_s = clock()
        self.recorder: Callable[[ShownFrame], None] | None = None
        self.sound = SoundDesk(clock)
        self.audience = Audience(limits, metrics, clock, self.sound.source_changed)
        self.is_recording = False
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._playout: Playout[ShownFrame] = Playout(
            max_waiting=max(1, int(MAX_PLAYOUT_S * settings.native_fps)), interval_s=1 / settings.native_fps
        )
        self._delays, self._bufferings, self._holds = RecentTimes(), RecentTimes(), RecentTimes()
        self._desk = PromptDesk(limits, self.tell, self._soon)
        self._branch = 0
        self._first_frame = 0
        self._next_frame = 0
        self._counted_in = self._counted_drops = self._counted_surplus = 0
        self.session = self._open(settings)
        self._task = asyncio.create_task(self._run(), name=f"hub {name[:6]}")

    # -- orders

    def push(self, pixels: UInt8[np.ndarray, "h w c"], captured_s: float) -> None:
        """Hand in a raw frame, taken at `captured_s` of the sender's clock.

        Raises:
            ProtocolError: If the session takes no frames.
        """
        self.last_active_s = self._clock()
        self._metrics.frames_in.inc()
        try:
            self.session.push(pixels, captured_s)
        except SessionEndedError as error:
            raise ProtocolError("session_failed", str(error)) from None
        except VivaceError as error:
            raise ProtocolError("bad_frame", str(error)) from None

    def push_sound(self, samples: Samples, media_s: float) -> None:
        """Hand in sound at 48 kHz; `media_s` is the time of its first sample on the track's own clock."""
        if not self.session.is_paused:
            self.sound.push(samples, media_s)

    def push_sound_arrived(self, samples: Samples, arrived_s: float) -> None:
        """As `push_sound`, of a publisher that knows when the picture which belongs to it arrived."""
        if not self.session.is_paused:
            self.sound.push_arrived(samples, arrived_s)

    def ask_prompt(self, words: str, in_s: float | None = None) -> None:
        """Change the instruction, now or `in_s` seconds of video from now; raises as `PromptDesk.ask`."""
        self._touch()
        self._desk.ask(self.session, words, in_s, self._first_frame)

    def cancel_prompt(self, prompt_id: int) -> None:
        """Take an instruction off the timeline; raises as `PromptDesk.cancel`."""
        self._touch()
        self._desk.cancel(self.session, prompt_id)

    def set_controls(self, steps: int | None, seed: int | None, strength: float | None) -> None:
        """Other steps or strength from the next chunk on; another seed starts the model's stream anew.

        None leaves one as it is. Viewers and clients stay.

        Raises:
            ProtocolError: If the engine refuses.
        """
        self._touch()
        before = self.session.controls
        controls = Controls(
            num_denoising_steps=before.num_denoising_steps if steps is None else steps,
            strength=before.strength if strength is None else strength,
        )
        is_anew = seed is not None and seed != self.settings.seed
        try:
            if not is_anew:
                self.session.set_controls(controls)
        except VivaceError as error:
            raise ProtocolError("not_possible", str(error)) from None
        self.settings = replace(
            self.settings,
            num_denoising_steps=controls.num_denoising_steps,
            strength=controls.strength,
            seed=self.settings.seed if seed is None else seed,
        )
        if is_anew:
            self._start_anew(replace(self.settings, prompt=self.session.prompt_words))
        self.tell(
            ControlsSet(
                steps=controls.num_denoising_steps,
                seed=self.settings.seed,
                strength=controls.strength,
                is_anew=is_anew,
            )
        )

    def set_paused(self, is_paused: bool) -> None:
        """Take no frames, or take them again.

        Raises:
            ProtocolError: If the session is over.
        """
        self._touch()
        try:
            if is_paused:
                self.session.pause()
            else:
                self.session.resume()
        except VivaceError as error:
            raise ProtocolError("session_failed", str(error)) from None
        self.sound.source_changed()
        self.tell(PauseChanged(is_paused=is_paused))

    async def rewind(self, seconds: float) -> None:
        """Jump back; listeners hear how far it went.

        Raises:
            ProtocolError: If there is nothing to go back to.
        """
        self._touch()
        try:
            receipt: RewindReceipt = await asyncio.wrap_future(self.session.rewind(seconds))
        except VivaceError as error:
            raise ProtocolError("not_possible", str(error)) from None
        self._branch = max(self._branch, receipt.branch)
        self._playout.clear()
        self._next_frame = self._first_frame + receipt.frame_index
        self.tell(Rewound(seconds=receipt.back_s, frame=self._next_frame, prompt=receipt.prompt_words))

    # -- what it says

    def welcome(self, *, may_control: bool) -> Welcome:
        """The session as it is."""
        size = self.size
        return Welcome(
            session=self.name,
            may_control=may_control,
            state=str(self.session.phase),
            prompt=self.session.prompt_words,
            prompt_id=self._desk.id_of(self.session.prompt_id),
            timeline=self._desk.timeline,
            width_px=size[0],
            height_px=size[1],
            fps=self.settings.native_fps,
            steps=self.settings.num_denoising_steps,
            seed=self.settings.seed,
            strength=self.settings.strength,
            is_paused=self.session.is_paused,
            is_recording=self.is_recording,
            next_frame=self._next_frame,
            stream_s=self.session.stream_s,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of edited frames; 0 until the first one decides."""
        return self.session.size or self.settings.size or (0, 0)

    def stats(self) -> Stats:
        """What it does right now."""
        seen = self.session.figures()
        figures, counts = seen.figures, seen.figures.counts
        now_s = self._clock()
        delay, buffering, held = (
            times.summary(now_s) for times in (self._delays, self._bufferings, self._holds)
        )
        has_delay = delay.num_values > 0
        return Stats(
            state=str(self.session.phase),
            fps_in=round(figures.fps_in, 2),
            fps_out=round(figures.fps_out, 2),
            native_fps=self.settings.native_fps,
            delay_ms=round(delay.p50_ms, 1) if has_delay else None,
            delay_p99_ms=round(delay.p99_ms, 1) if has_delay else None,
            buffering_ms=round(buffering.p50_ms, 1) if has_delay else None,
            held_ms=round(held.p99_ms, 1) if has_delay else None,
            frames_in=counts.frames_in,
            frames_out=counts.frames_out,
            frames_dropped=counts.frames_dropped_in + counts.frames_dropped_out + self._playout.num_dropped,
            frames_resampled=counts.frames_surplus,
            state_bytes=figures.state_bytes,
            steps=seen.num_denoising_steps,
            steps_wanted=seen.wanted_denoising_steps,
            rewind_s=round(seen.rewindable_s, 2),
            stream_s=round(seen.stream_s, 3),
            num_viewers=self.audience.num_viewers,
        )

    def tell(self, message: ServerMessage) -> None:
        """Pass a message to all listeners."""
        self.audience.tell(message)

    # -- its life

    def finish(self) -> None:
        """Take no more frames, show what is under work, then end."""
        if not self.is_over:
            self.session.finish()

    def close(self, reason: str) -> None:
        """End it; clients are told why. Closing twice is fine."""
        if self.is_over:
            return
        self.is_over = True
        self.session.on_change(None)
        self.session.close(reason)
        self.sound.close()
        self.audience.close(Ended(reason=reason))
        self._wake.set()

    async def closed(self) -> None:
        """Wait until it is over."""
        await asyncio.gather(self._task, return_exceptions=True)

    def _start_anew(self, wanted: SessionSettings) -> None:
        before = self.session
        before.on_change(None)
        before.close("started anew with another seed")
        self._desk.start_anew(before.prompt_id)
        self._first_frame = self._next_frame
        try:
            self.session = self._open(wanted)
        except VivaceError as error:
            self.close(str(error))
            raise ProtocolError("session_failed", str(error)) from None
        self.settings = wanted
        self._branch = 0
        self._counted_in = self._counted_drops = self._counted_surplus = 0
        self._playout.clear()

    def _open(self, settings: SessionSettings) -> SyncSession:
        session = self._engine.open_sync(settings)
        session.on_change(lambda: self._soon(self._wake.set))
        return session

    def _soon(self, call: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _touch(self) -> None:
        self.last_active_s = self._clock()

    async def _run(self) -> None:
        next_stats_s = self._clock()
        while not self.is_over:
            now_s = self._clock()
            self._take(now_s)
            while (frame := self._playout.pop_due(now_s)) is not None:
                self._show(frame, now_s)
            if now_s >= next_stats_s:
                next_stats_s = now_s + STATS_EVERY_S
                stats = self.stats()
                self._count(stats)
                self.tell(stats)
            if self.session.phase is Phase.CLOSED and not len(self._playout):
                end = self.session.end
                self.close("it was closed" if end is None else end.reason)
                return
            due_s = self._playout.next_due_s()
            until_s = next_stats_s if due_s is None else min(due_s, next_stats_s)
            await self._sleep(until_s - self._clock())

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        timer = self._loop.call_later(seconds, self._wake.set)
        await self._wake.wait()
        timer.cancel()
        self._wake.clear()

    def _take(self, now_s: float) -> None:
        chunks: dict[int, list[tuple[float, ShownFrame]]] = {}
        for frame in self.session.take_frames():
            if frame.branch < self._branch:
                continue
            arrived_s = frame.ready_s - frame.delay_s
            chunks.setdefault(frame.chunk_index, []).append((arrived_s, self._shown(frame, arrived_s)))
        for frames in chunks.values():
            self._playout.push(frames, now_s)

    def _shown(self, frame: EditedFrame, arrived_s: float) -> ShownFrame:
        index = self._first_frame + frame.frame_index
        self._next_frame = index + 1
        return ShownFrame(
            np.asarray(frame.pixels),
            index,
            self._desk.id_of(frame.prompt_id),
            frame.prompt_words,
            frame.time_s,
            arrived_s,
            frame.span_s,
            frame.model_s,
            frame.engine_s,
        )

    def _show(self, frame: ShownFrame, now_s: float) -> None:
        self._metrics.frames_out.inc()
        delays = frame.delays(now_s)
        self._metrics.delay_s.observe(delays.total_s)
        self._metrics.held_s.observe(delays.held_s)
        self._delays.record(now_s, delays.total_s)
        self._bufferings.record(now_s, delays.buffering_s)
        self._holds.record(now_s, delays.held_s)
        self.sound.frame_shown(delays.total_s)
        self.audience.show(frame)
        if self.recorder is not None:
            self.recorder(frame)

    def _count(self, stats: Stats) -> None:
        for reason, total, before in (
            ("busy", stats.frames_dropped, self._counted_drops),
            ("rate", stats.frames_resampled, self._counted_surplus),
        ):
            self._metrics.frames_dropped.labels(reason).inc(max(0, total - before))
        self._counted_drops, self._counted_surplus = stats.frames_dropped, stats.frames_resampled
