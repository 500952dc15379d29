"""One turn of the engine: choose who is served, run the model, hand out what it gave; owns no thread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition

import numpy as np
from jaxtyping import UInt8

from vivace.core.errors import VivaceError
from vivace.engine.scheduler import LatencyModel, SlotId, schedule
from vivace.engine.slot import Slot
from vivace.engine.telemetry import BusyLog
from vivace.engine.terms import ChunkInput, SessionEnd
from vivace.pipelines.edit import EditPipeline, Result


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a work item gave nothing, as a sentence."""

    reason: str


class Worker:
    """Serves the sessions in `slots`, which its owner changes under the lock. `turn` is for one thread only.

    The lock is held to choose and to hand out, never while the model works. A turn stays with the chunk of
    one session for `stay_s`; whoever has an earlier deadline waits no longer than that.
    """

    def __init__(
        self,
        pipeline: EditPipeline,
        slots: Mapping[SlotId, Slot],
        lock: Condition,
        output: Condition,
        clock: Callable[[], float],
        end: Callable[[Slot, SessionEnd], None],
        *,
        max_batch: int,
        stay_s: float = 0.0,
    ) -> None:
        self.latency = LatencyModel()
        self.busy = BusyLog()
        self.ended: list[Slot] = []
        self._pipeline = pipeline
        self._slots = slots
        self._lock = lock
        self._output = output
        self._clock = clock
        self._end = end
        self._max_batch = max_batch
        self._stay_s = stay_s

    def turn(self) -> bool:
        """Serve one model call, or several of one chunk while they are short; false where nobody has work."""
        with self._lock:
            self.drop_ended()
            self._look_around()
            chosen = self._choose()
        ready = [slot for slot, source in chosen if source is None or self._begin(slot, source)]
        begun_s = self._clock()
        while ready:
            self._serve(ready)
            if len(ready) > 1 or self._clock() - begun_s >= self._stay_s:
                break
            ready = [slot for slot in ready if slot.source is not None and not slot.session.is_over]
        return bool(chosen)

    def drop_ended(self) -> None:
        """Free the streams of ended sessions; not while a model call uses them, hence here."""
        with self._lock:
            still_to_tell = [slot for slot in self.ended if slot.has_news]
            for slot in self.ended:
                slot.drop_stream()
            self.ended[:] = still_to_tell

    def _look_around(self) -> None:
        now_s = self._clock()
        for slot in tuple(self._slots.values()):
            session = slot.session
            if session.tick(now_s):
                limit_s = session.settings.idle_timeout_s
                self._end(slot, SessionEnd("idle", f"no frame and no order came for {limit_s:g} s"))
                continue
            while slot.asked_rewinds and not session.is_over:
                seconds, landed = slot.asked_rewinds.pop(0)
                try:
                    landed.set_result(slot.rewind(seconds))
                except VivaceError as error:
                    landed.set_exception(error)
            if session.is_drained and slot.source is None:
                self._end(slot, SessionEnd("finished", "all frames are edited"))

    def _choose(self) -> list[tuple[Slot, ChunkInput | None]]:
        """Who is served, with the chunk that each one opens; None where it has one under work."""
        now_s = self._clock()
        views = [view for slot in self._slots.values() if (view := slot.view()) is not None]
        chosen_ids = schedule(views, now_s, self.latency, self._max_batch)
        for view in views:
            slot = self._slots[view.slot]
            slot.num_passed_over = 0 if view.slot in chosen_ids else slot.num_passed_over + 1
        num_sessions = sum(slot.session.gets_frames(now_s) for slot in self._slots.values())
        chosen: list[tuple[Slot, ChunkInput | None]] = []
        for slot_id in chosen_ids:
            slot = self._slots[slot_id]
            source = None
            if slot.source is None:
                source = slot.session.take_chunk(now_s)
                assert source is not None
                source = slot.paced(source, self.latency, num_sessions, now_s)
                slot.session.telemetry.times.queueing.record(now_s - source.ready_s)
            chosen.append((slot, source))
        return chosen

    def _begin(self, slot: Slot, source: ChunkInput) -> bool:
        try:
            slot.begin_chunk(source)
        except Exception as error:
            # one session's frames must not take the others with them
            with self._lock:
                self._end(slot, SessionEnd("failed", f"its frames could not be used ({_sentence(error)})"))
            return False
        return True

    def _serve(self, slots: list[Slot]) -> None:
        begun_s = self._clock()
        kind = slots[0].next_kind
        outcomes, num_retries = self._run(slots)
        for slot, outcome in zip(slots, outcomes):
            if isinstance(outcome, Result):
                slot.advance(outcome)
        failures = [self._failure_of(slot, outcome) for slot, outcome in zip(slots, outcomes)]
        pictures = [self._pictures_of(slot, outcome, len(slots)) for slot, outcome in zip(slots, outcomes)]
        with self._lock:
            now_s = self._clock()
            self.busy.record(begun_s, now_s)
            if not num_retries:
                self.latency.observe(kind, len(slots), now_s - begun_s)
            for slot, shown, failure in zip(slots, pictures, failures):
                slot.session.telemetry.counts.retries += num_retries
                if slot.session.is_over:
                    continue
                if failure is not None:
                    self._end(slot, SessionEnd("failed", failure.reason))
                elif shown is not None:
                    self._deliver(slot, shown, now_s)
            self._output.notify_all()
        for slot, outcome in zip(slots, outcomes):
            if isinstance(outcome, Result) and outcome.frames is not None:
                self._save(slot)

    def _run(self, slots: list[Slot]) -> tuple[list[Result | Failure], int]:
        """Results, and how many calls had to be made again; every work item gets two chances.

        A forward consumes a state only after it succeeded (docs/decisions/0003), so both start from the same.
        """
        works = [(slot.stream, work) for slot in slots if (work := slot.stream.plan()) is not None]
        try:
            return list(self._pipeline.run(works)), 0
        except Exception:
            # whatever a network raises; the sessions of a shared call are told apart by running each alone
            return [self._run_alone(slot) for slot in slots], 1

    def _run_alone(self, slot: Slot) -> Result | Failure:
        work = slot.stream.plan()
        assert work is not None
        try:
            (result,) = self._pipeline.run([(slot.stream, work)])
        except Exception as error:
            return Failure(f"the model failed twice on chunk {work.chunk.index} ({_sentence(error)})")
        return result

    def _failure_of(self, slot: Slot, outcome: Result | Failure) -> Failure | None:
        if isinstance(outcome, Failure):
            return outcome
        flight = outcome.flight
        # looked at once a chunk, before it is decoded: on a GPU the look waits for the device
        if flight is not None and flight.is_committed and not slot.has_finite_chunk():
            return Failure(f"the model gave no numbers (NaN or infinity) for chunk {flight.chunk.index}")
        if not outcome.is_finite:
            return Failure("the decoder gave no numbers (NaN or infinity)")
        return None

    def _pictures_of(
        self, slot: Slot, outcome: Result | Failure, num_sharing: int
    ) -> UInt8[np.ndarray, "r h w c"] | None:
        """The frames to show, where the work was a decode and gave some."""
        if isinstance(outcome, Failure) or outcome.frames is None or slot.source is None:
            return None
        shown = slot.shown(outcome.frames)
        # a session must not hold on to the pictures of the others in its call
        return (shown.clone() if num_sharing > 1 else shown).numpy()

    def _deliver(self, slot: Slot, pixels: UInt8[np.ndarray, "r h w c"], now_s: float) -> None:
        source = slot.source
        assert source is not None
        slot.source = None
        added_s = now_s - source.ready_s - self.busy.within(source.ready_s, now_s)
        slot.session.deliver(source, list(pixels), now_s, added_s)
        slot.has_news = True
        if source.is_last:
            self._end(slot, SessionEnd("finished", "all frames are edited"))

    def _save(self, slot: Slot) -> None:
        """Keep a snapshot; after the frames went out, so that nobody waits for the copy."""
        if slot.session.is_over:
            return
        snapshot = slot.snapshot()
        with self._lock:
            if snapshot is not None:
                slot.ring.keep(snapshot)
            slot.session.telemetry.state_bytes = slot.state_bytes()
            slot.session.telemetry.rewind_bytes = slot.ring.num_bytes


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
