"""Measures a server over loopback: serves an engine, lets synthetic users in, splits the delay they see."""

import asyncio
import json
import socket
import sys
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Literal

import uvicorn

from vivace.core.errors import InputError
from vivace.engine.engine import Engine
from vivace.engine.telemetry import Counts, TimeFigures, summary_of
from vivace.engine.terms import SessionSettings
from vivace.server.app import Parts, create_app
from vivace.server.bodies import OpenSession
from vivace.server.load_client import CONNECT_S, LAST_WAIT_S, LoadOrder, Seen
from vivace.server.marks import NUM_NUMBERS, read_mark
from vivace.server.outlet import ShownDelays, ShownFrame
from vivace.server.protocol import MAX_STEPS, ProtocolError
from vivace.server.settings import Limits, ServerSettings

Over = Literal["websocket", "webrtc"]
PROMPT, NEW_PROMPT = "make it a snowy night", "turn it into a pencil sketch"
# Frames of the first seconds do not count, but for the time to the first one: connections find their rate.
WARM_UP_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSettings:
    """What is measured; the fields are those of `vivace.bench.live_speed.LiveSpeedSettings`."""

    over: Over
    num_sessions: int
    duration_s: float
    fps: float
    width_px: int
    height_px: int
    num_denoising_steps: int | None = None
    least_denoising_steps: int | None = None
    rewind_s: float = 10.0

    def __post_init__(self) -> None:
        for steps in (self.num_denoising_steps, self.least_denoising_steps):
            if steps is not None and not 1 <= steps <= MAX_STEPS:
                raise InputError(f"got {steps} denoising steps, expected 1 to {MAX_STEPS}")
        if self.num_sessions < 1 or self.duration_s < 2 * WARM_UP_S or self.fps <= 0:
            raise InputError(
                f"got {self.num_sessions} sessions of {self.duration_s:g} s at {self.fps:g} frames a second, "
                f"expected at least 1 session, {2 * WARM_UP_S:g} s and more than 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSpeed:
    """One measurement; times in milliseconds over all sessions, by the users' own clock.

    The model runs at full cost, but its edit is shown at strength 0, so that the number drawn into each
    source frame can be read from the frame that comes back.

    Attributes:
        settings: What was measured.
        fps_out: Edited frames a second and session that arrived, without the warm-up.
        num_sent: Frames that went in.
        num_received: Frames that came back.
        num_unread: Of these, without a readable number.
        counts: The engine's.
        miss_share: Chunks later than their deadline.
        ttff: From the first frame sent to the first one received, with the connection set up before.
        delay: From a frame handed to the sender's codec to its edited form decoded.
        buffering: Of the delay, chunk buffering: waiting for the rest of the chunk to arrive and, edited with
            the rest, for its turn to be shown; together at most what the chunk lasts.
        model: Of the delay, the model's work on the complete chunk, also for other sessions.
        added: The rest: codecs, network, queues, engine, even playing out.
        leg_in: Of `added`, from the sender to the session.
        engine: Of `added`, from the complete chunk to its edited frames less the model's work.
        held: Of `added`, held back beyond chunk buffering, so that frames come evenly although the model's
            times are not even.
        leg_out: Of `added`, from being shown to being decoded by the viewer.
        jitter: How much later or earlier than its predecessor a frame came than it was sent.
        prompt_change: From asking for another instruction to the first frame received that follows it.
    """

    settings: LoadSettings
    fps_out: float
    num_sent: int
    num_received: int
    num_unread: int
    counts: Counts
    miss_share: float
    ttff: TimeFigures
    delay: TimeFigures
    buffering: TimeFigures
    model: TimeFigures
    added: TimeFigures
    leg_in: TimeFigures
    engine: TimeFigures
    held: TimeFigures
    leg_out: TimeFigures
    jitter: TimeFigures
    prompt_change: TimeFigures


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the server knows of a frame that it showed."""

    shown_s: float
    arrived_s: float
    delays: ShownDelays
    prompt_id: int


@dataclass(slots=True)
class _Tap:
    """The frames that one session showed, by their number; a repeated frame counts once."""

    shown: dict[int, _Shown] = field(default_factory=dict)
    _last: int = 0

    def take(self, frame: ShownFrame) -> None:
        """Note a frame as it goes out."""
        short = read_mark(frame.pixels)
        if short is None:
            return
        ahead = (short - self._last) % NUM_NUMBERS
        number = self._last + (ahead if ahead < NUM_NUMBERS // 2 else ahead - NUM_NUMBERS)
        self._last = max(self._last, number)
        now_s = perf_counter()
        note = _Shown(now_s, frame.arrived_s, frame.delays(now_s), frame.prompt_id)
        self.shown.setdefault(number, note)


def measure_load(engine: Engine, settings: LoadSettings) -> LoadSpeed:
    """Serve `engine` on a free loopback port and measure what users in another process see.

    Raises:
        InputError: If the model cannot edit that size, sessions cannot be opened, the users' process failed
            or no frame came back.
    """
    size = settings.width_px, settings.height_px
    edited = engine.fit(SessionSettings(prompt=PROMPT, size=size), *size)
    if edited != size:
        raise InputError(
            f"got size {size[0]}x{size[1]}, which the model edits at {edited[0]}x{edited[1]}; take that"
        )
    seen, taps = asyncio.run(_serve(engine, settings))
    return _speed(settings, seen, taps, engine.figures().figures.counts)


async def _serve(engine: Engine, settings: LoadSettings) -> tuple[list[Seen], list[_Tap]]:
    limits = Limits(num_sessions=settings.num_sessions)
    app = create_app(
        engine,
        ServerSettings(
            native_fps=settings.fps,
            rewind_s=settings.rewind_s,
            least_denoising_steps=settings.least_denoising_steps,
            limits=limits,
        ),
        # users send the size that is edited
        fit=lambda width, height: (width, height),
    )
    config = uvicorn.Config(app, log_config=None, ws="websockets-sansio", ws_max_size=limits.max_frame_bytes)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            return await _let_users_in(app.state.parts, address, settings)
        finally:
            server.should_exit = True
            await serving


async def _let_users_in(parts: Parts, address: str, settings: LoadSettings) -> tuple[list[Seen], list[_Tap]]:
    wish = OpenSession(
        prompt=PROMPT,
        width_px=settings.width_px,
        height_px=settings.height_px,
        steps=settings.num_denoising_steps,
        strength=0.0,
    )
    try:
        hubs = [await parts.lobby.open(wish) for _ in range(settings.num_sessions)]
    except ProtocolError as error:
        raise InputError(error.answer.sentence) from None
    taps = [_Tap() for _ in hubs]
    for hub, tap in zip(hubs, taps):
        hub.recorder = tap.take
    order = LoadOrder(
        address=address,
        over=settings.over,
        sessions=tuple((hub.name, hub.key) for hub in hubs),
        fps=settings.fps,
        duration_s=settings.duration_s,
        width_px=settings.width_px,
        height_px=settings.height_px,
        new_prompt=NEW_PROMPT,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vivace.server.load_client",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        limit_s = settings.duration_s + 2 * CONNECT_S + LAST_WAIT_S
        out, errors = await asyncio.wait_for(process.communicate(json.dumps(asdict(order)).encode()), limit_s)
    except TimeoutError:
        raise InputError("the synthetic users did not end in time; the machine is too busy") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise InputError(f"the synthetic users failed: {' '.join(last) or process.returncode}")
    seen = [Seen(**{**one, "received": [tuple(pair) for pair in one["received"]]}) for one in json.loads(out)]
    return seen, taps


def _speed(settings: LoadSettings, seen: list[Seen], taps: list[_Tap], counts: Counts) -> LoadSpeed:
    times: dict[str, list[float]] = {
        name: []
        for name in ("delay", "buffering", "model", "added", "leg_in", "engine", "held", "leg_out", "jitter")
    }
    ttff, prompt_change = [], []
    num_counted = 0
    for user, tap in zip(seen, taps):
        if not user.received:
            raise InputError("no edited frame came back that could be read; the machine is too busy")
        ttff.append(user.received[0][1] - user.sent_s[0])
        before: float | None = None
        for number, received_s in user.received:
            sent_s, shown = user.sent_s[number], tap.shown.get(number)
            if sent_s - user.sent_s[0] < WARM_UP_S or shown is None:
                continue
            num_counted += 1
            delay_s = received_s - sent_s
            times["delay"].append(delay_s)
            split = shown.delays
            times["buffering"].append(split.buffering_s)
            times["model"].append(split.model_s)
            times["added"].append(delay_s - split.buffering_s - split.model_s)
            times["leg_in"].append(shown.arrived_s - sent_s)
            times["engine"].append(split.engine_s)
            times["held"].append(split.held_s)
            times["leg_out"].append(received_s - shown.shown_s)
            if before is not None:
                times["jitter"].append(abs(delay_s - before))
            before = delay_s
        changed = _first_after_change(user, tap)
        if user.asked_s is not None and changed is not None:
            prompt_change.append(changed - user.asked_s)
    steady_s = settings.duration_s - WARM_UP_S
    return LoadSpeed(
        settings=settings,
        fps_out=num_counted / settings.num_sessions / steady_s,
        num_sent=sum(len(one.sent_s) for one in seen),
        num_received=sum(len(one.received) for one in seen),
        num_unread=sum(one.num_unread for one in seen),
        counts=counts,
        miss_share=counts.deadline_misses / max(1, counts.chunks),
        ttff=summary_of(ttff),
        prompt_change=summary_of(prompt_change),
        **{name: summary_of(values) for name, values in times.items()},
    )


def _first_after_change(user: Seen, tap: _Tap) -> float | None:
    """When the first frame that follows the second instruction was received."""
    if not tap.shown:
        return None
    first_id = next(iter(tap.shown.values())).prompt_id
    return next(
        (
            received_s
            for number, received_s in user.received
            if number in tap.shown and tap.shown[number].prompt_id != first_id
        ),
        None,
    )
