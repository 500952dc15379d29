"""Orders of one connection: reads its text messages, checks what it may do, passes them to the hub."""

from collections.abc import Callable
from time import perf_counter

from vivace.server.hub import Hub
from vivace.server.metrics import Metrics
from vivace.server.protocol import (
    CancelPrompt,
    ClientMessage,
    GetStats,
    Hello,
    Pause,
    Ping,
    Pong,
    ProtocolError,
    Resume,
    Rewind,
    SchedulePrompt,
    ServerMessage,
    SetControls,
    SetPrompt,
    StartRecording,
    StopRecording,
    parse_message,
)
from vivace.server.recording import Recordings

# Seconds of a burst that the rate limit lets through at once.
BURST_S = 2.0


class Control:
    """One connection's right to watch or control a session; the same on WebSockets and data channels."""

    def __init__(
        self,
        hub: Hub,
        recordings: Recordings,
        metrics: Metrics,
        send: Callable[[ServerMessage], None],
        *,
        may_control: bool,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.may_control = may_control
        self._hub = hub
        self._recordings = recordings
        self._metrics = metrics
        self._send = send
        self._clock = clock
        self._per_s = hub.limits.max_messages_per_s
        self._left = BURST_S * self._per_s
        self._last_s = clock()

    def greet(self) -> None:
        """Say what the session is like."""
        self._send(self._hub.welcome(may_control=self.may_control))

    async def handle(self, text: str | bytes) -> None:
        """Do what a message says; what is wrong with it goes back as an `error`."""
        try:
            self._check_rate()
            await self._do(parse_message(text))
        except ProtocolError as error:
            self._metrics.refused.labels(error.answer.code).inc()
            self._send(error.answer)

    def _check_rate(self) -> None:
        now_s = self._clock()
        gained = max(0.0, now_s - self._last_s) * self._per_s
        self._left = min(BURST_S * self._per_s, self._left + gained) - 1
        self._last_s = now_s
        if self._left < 0:
            self._left = 0
            raise ProtocolError("busy", f"got more than {self._per_s} messages a second; slow down")

    async def _do(self, message: ClientMessage) -> None:
        match message:
            case Ping(nonce=nonce):
                self._send(Pong(nonce=nonce))
            case GetStats():
                self._send(self._hub.stats())
            case Hello():
                raise ProtocolError("bad_message", "got a second hello; one is enough")
            case _ if not self.may_control:
                raise ProtocolError(
                    "not_allowed", "this connection may watch only; say hello with the session's key"
                )
            case SetPrompt(prompt=words):
                self._hub.ask_prompt(words)
            case SchedulePrompt(prompt=words, in_s=in_s):
                self._hub.ask_prompt(words, in_s)
            case CancelPrompt(prompt_id=prompt_id):
                self._hub.cancel_prompt(prompt_id)
            case SetControls(steps=steps, seed=seed, strength=strength):
                self._hub.set_controls(steps, seed, strength)
            case Pause():
                self._hub.set_paused(True)
            case Resume():
                self._hub.set_paused(False)
            case Rewind(seconds=seconds):
                await self._hub.rewind(seconds)
            case StartRecording():
                self._recordings.start(self._hub)
            case StopRecording():
                await self._recordings.stop(self._hub)
