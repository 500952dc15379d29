"""The two faces of a session: thread-safe for servers, asyncio for scripts; decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from math import isfinite
from threading import Condition
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from vivace.core.errors import InputError
from vivace.engine.prompts import AskedPrompt, PromptChange, PromptReceipt, UpcomingPrompt
from vivace.engine.slot import Picture, Slot
from vivace.engine.telemetry import SessionFigures
from vivace.engine.terms import (
    Controls,
    EditedFrame,
    Phase,
    RewindReceipt,
    SessionEnd,
    SessionEndedError,
    SessionSettings,
)

RawFrame = UInt8[np.ndarray, "h w c"] | UInt8[Tensor, "h w c"]


class Host(Protocol):
    """What a session needs of its engine."""

    lock: Condition
    output: Condition

    def now(self) -> float:
        """The engine's clock."""
        ...

    def fit(self, settings: SessionSettings, width: int, height: int) -> tuple[int, int]:
        """The size at which frames of this size are edited."""
        ...

    def check_controls(self, controls: Controls) -> None:
        """Raise where the model cannot do that."""
        ...

    def prompt_came(self, slot: Slot, change: PromptChange) -> None:
        """An instruction is to be encoded."""
        ...

    def picture_came(self, slot: Slot, picture: Picture | None) -> None:
        """A frame is to be fitted; None where there is other news for the worker."""
        ...

    def end(self, slot: Slot, end: SessionEnd) -> None:
        """Close a session and free its slot."""
        ...

    def tell(self) -> None:
        """Call the listeners that have news; not under the lock."""
        ...


class SyncSession:
    """A session, usable from any thread; no call waits for the model except where it says so.

    From asyncio code every method may be called directly: all return in microseconds, except `take_frames`
    with a timeout. Futures are resolved on an engine thread; use `asyncio.wrap_future`.
    """

    def __init__(self, slot: Slot, host: Host) -> None:
        self._slot = slot
        self._session = slot.session
        self._host = host

    @property
    def settings(self) -> SessionSettings:
        """What it was opened with."""
        return self._session.settings

    @property
    def phase(self) -> Phase:
        """opening, live, draining or closed."""
        return self._session.phase

    @property
    def is_paused(self) -> bool:
        """Whether incoming frames are ignored."""
        return self._session.is_paused

    @property
    def end(self) -> SessionEnd | None:
        """Why it is closed; None while it is not."""
        return self._session.end

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of edited frames; None until the first frame decides."""
        return self._slot.size

    @property
    def prompt_words(self) -> str:
        """The instruction that the newest chunk follows."""
        return self._session.prompt_words

    @property
    def prompt_id(self) -> int:
        """Which change of the instruction that was; 0 is what the session was opened with."""
        prompt = self._session.prompt
        return 0 if prompt is None else prompt.prompt_id

    @property
    def upcoming_prompts(self) -> tuple[UpcomingPrompt, ...]:
        """Changes that are not applied yet, in their order; each has an id for `cancel_prompt`."""
        with self._host.lock:
            return self._session.timeline.upcoming

    @property
    def stream_s(self) -> float:
        """Seconds of video taken in so far: the axis of `schedule_prompt`."""
        return self._session.stream_s

    @property
    def opened(self) -> Future[None]:
        """Done when the first prompt is encoded; fails with an InputError where it cannot be used."""
        return self._session.opened

    def push(self, pixels: RawFrame, time_s: float | None = None) -> int:
        """Hand in one raw frame of any size; do not write into it afterwards.

        `time_s` is on the sender's own clock (for example pts x time base); None takes the engine's. Returns
        how many frames the rate change made of it: 0, 1, or more after a gap.

        Raises:
            InputError: If the frame cannot be used; the session is then closed as `failed`.
            SessionEndedError: If it is closed or draining.
        """
        try:
            picture = Picture(pixels)
            with self._host.lock:
                now_s = self._host.now()
                settled = self._session.push(picture, now_s if time_s is None else time_s, now_s)
                if self._slot.size is None:
                    self._slot.size = self._host.fit(self.settings, *picture.size)
                self._host.picture_came(self._slot, picture if settled else None)
        except InputError as error:
            self._close(SessionEnd("failed", str(error)))
            raise
        return len(settled)

    def set_prompt(self, words: str) -> Future[PromptReceipt]:
        """Change the instruction from the next chunk that opens after it is encoded.

        The receipt comes when that chunk opens and says which raw frame the change reached. It fails with an
        InputError where the words cannot be used (the session goes on as before), or SessionEndedError.

        Raises:
            InputError: If too many changes wait already.
            SessionEndedError: If the session is closed or draining.
        """
        return self.ask_prompt(words).receipt

    def schedule_prompt(self, at_s: float, words: str) -> Future[PromptReceipt]:
        """As `set_prompt`, but from the first chunk that starts at `stream_s` >= `at_s`."""
        return self.ask_prompt(words, at_s).receipt

    def ask_prompt(self, words: str, at_s: float | None = None) -> AskedPrompt:
        """As `set_prompt` or, with a time, `schedule_prompt`; also says which id the frames will carry."""
        with self._host.lock:
            now_s = self._host.now()
            if at_s is None:
                change = self._session.set_prompt(words, now_s)
            else:
                change = self._session.schedule_prompt(at_s, words, now_s)
            self._host.prompt_came(self._slot, change)
        return AskedPrompt(change.prompt_id, change.receipt)

    @property
    def controls(self) -> Controls:
        """Steps and strength of the next chunk."""
        return self._session.controls

    def set_controls(self, controls: Controls) -> None:
        """Steps and strength from the next chunk on; the stream goes on with what it remembers.

        Raises:
            InputError: If the number of steps cannot be used.
            SessionEndedError: If the session is closed or draining.
        """
        self._host.check_controls(controls)
        with self._host.lock:
            self._session.set_controls(controls)

    def cancel_prompt(self, prompt_id: int) -> bool:
        """Take an upcoming change back; false if it was applied or is unknown."""
        with self._host.lock:
            return self._session.cancel_prompt(prompt_id, self._host.now())

    def rewind(self, seconds: float) -> Future[RewindReceipt]:
        """Jump back to what the stream was about `seconds` of video ago and branch from there.

        Frames that wait, and the chunk under work, are dropped; later input goes on from the older state,
        with the instruction of that moment. The future fails with an InputError where there is no snapshot
        (rewind_s is 0, or nothing was edited yet).

        Raises:
            InputError: If `seconds` is not a time.
            SessionEndedError: If the session is closed or draining.
        """
        if not (isfinite(seconds) and seconds >= 0):
            raise InputError(f"got a rewind by {seconds} s, expected 0 or more")
        landed: Future[RewindReceipt] = Future()
        landed.set_running_or_notify_cancel()
        with self._host.lock:
            self._session.check_takes_input()
            self._session.touch()
            self._slot.asked_rewinds.append((seconds, landed))
            self._host.picture_came(self._slot, None)
        return landed

    def pause(self) -> None:
        """Ignore incoming frames; the chunk under work still comes out. The memories stay."""
        with self._host.lock:
            self._session.pause()

    def resume(self) -> None:
        """Go on; the pause leaves no gap in the stream."""
        with self._host.lock:
            self._session.resume()

    def take_frames(self, max_frames: int | None = None, timeout_s: float = 0.0) -> list[EditedFrame]:
        """Edited frames that are ready, oldest first; waits up to `timeout_s` for the first.

        Empty on timeout and, at once, when the session is closed and everything was taken.
        """
        session = self._session
        with self._host.output:
            if timeout_s > 0:
                self._host.output.wait_for(lambda: session.num_ready or session.is_over, timeout_s)
            return session.take_ready(max_frames)

    def on_change(self, notify: Callable[[], object] | None) -> None:
        """Call `notify` from an engine thread when frames became ready or the session closed; keep it short.

        One listener a session; None takes it off. For asyncio:
        `on_change(lambda: loop.call_soon_threadsafe(event.set))`.
        """
        self._slot.listener = notify

    def finish(self) -> None:
        """Say that no more frames come; what waits is still edited, then the session closes as `finished`."""
        with self._host.lock:
            self._session.finish(self._host.now())
            self._host.picture_came(self._slot, None)

    def close(self, reason: str = "closed by its user") -> None:
        """Close at once and free the slot; ready frames can still be taken. Closing twice is fine."""
        self._close(SessionEnd("closed", reason))

    def figures(self) -> SessionFigures:
        """Measured so far."""
        with self._host.lock:
            return self._slot.figures(self._host.now())

    def _close(self, end: SessionEnd) -> None:
        with self._host.lock:
            self._host.end(self._slot, end)
        self._host.tell()


class LiveSession:
    """A session for asyncio; `async with engine.open(prompt="make it snow") as session`.

    Entering waits until the prompt is encoded; leaving closes the session. `sync` is the same session for
    threads.
    """

    def __init__(self, sync: SyncSession) -> None:
        self.sync = sync
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.sync.on_change(lambda: loop.call_soon_threadsafe(self._news.set))
        try:
            await asyncio.wrap_future(self.sync.opened)
        except BaseException:
            self.sync.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sync.close()
        self.sync.on_change(None)

    async def push(self, pixels: RawFrame, time_s: float | None = None) -> int:
        """As `SyncSession.push`; lets other tasks run."""
        num_settled = self.sync.push(pixels, time_s)
        await asyncio.sleep(0)
        return num_settled

    async def frames(self) -> AsyncIterator[EditedFrame]:
        """Edited frames as they become ready, until the session is closed.

        Raises:
            SessionEndedError: If the session failed.
        """
        while True:
            self._news.clear()
            is_over = self.sync.phase is Phase.CLOSED
            for frame in self.sync.take_frames():
                yield frame
            if is_over:
                break
            await self._news.wait()
        end = self.sync.end
        if end is not None and end.kind == "failed":
            raise SessionEndedError(end)

    async def set_prompt(self, words: str) -> PromptReceipt:
        """As `SyncSession.set_prompt`; waits for the receipt."""
        return await asyncio.wrap_future(self.sync.set_prompt(words))

    async def schedule_prompt(self, at_s: float, words: str) -> PromptReceipt:
        """As `SyncSession.schedule_prompt`; waits for the receipt (use create_task to go on meanwhile)."""
        return await asyncio.wrap_future(self.sync.schedule_prompt(at_s, words))

    async def rewind(self, seconds: float) -> RewindReceipt:
        """As `SyncSession.rewind`; waits until it is done."""
        return await asyncio.wrap_future(self.sync.rewind(seconds))

    def set_controls(self, controls: Controls) -> None:
        """As `SyncSession.set_controls`."""
        self.sync.set_controls(controls)

    def pause(self) -> None:
        """As `SyncSession.pause`."""
        self.sync.pause()

    def resume(self) -> None:
        """As `SyncSession.resume`."""
        self.sync.resume()

    def finish(self) -> None:
        """As `SyncSession.finish`."""
        self.sync.finish()
