"""The messages between a client and the server: typed, versioned, of bounded size; moves no bytes itself.

Text is JSON with a `type`; it means the same on a WebSocket and on a WebRTC data channel. Picture bytes have
a form of their own, in `frame_wire`; what goes over HTTP stands in `bodies`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

VERSION = 1
MAX_TEXT_BYTES = 16_384
MAX_PROMPT_CHARS = 500
MAX_SIDE_PX = 4096
MAX_STEPS = 8
MAX_SEED = 2**31 - 1

Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT_CHARS, strict=True)
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=128, strict=True)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS, strict=True)]
Strength = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED, strict=True)]
Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX, strict=True)]

ErrorCode = Literal[
    "bad_message",
    "unknown_version",
    "too_large",
    "bad_frame",
    "bad_prompt",
    "not_allowed",
    "not_possible",
    "unknown_session",
    "session_failed",
    "busy",
    "no_tag",
    "other_tag",
    "no_restart",
    "wrong_type",
]


class Message(BaseModel):
    """What all messages share: unknown fields are refused, so that a typing error is not silent."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Hello(Message):
    """First message on a WebSocket. With the session's key it may publish and control, without it may watch.

    `frames` says whether edited frames come on this socket; a WebRTC viewer wants none.
    """

    type: Literal["hello"]
    v: int
    key: Key | None = None
    frames: Literal["jpeg", "none"] = "jpeg"


class SetPrompt(Message):
    """Change the instruction from the next chunk on."""

    type: Literal["set_prompt"]
    prompt: Words


class SchedulePrompt(Message):
    """Change the instruction at the first chunk that begins `in_s` seconds of video from now or later."""

    type: Literal["schedule_prompt"]
    prompt: Words
    in_s: Seconds


class CancelPrompt(Message):
    """Take an instruction off the timeline before it was reached."""

    type: Literal["cancel_prompt"]
    prompt_id: Count


class SetControls(Message):
    """Change steps, strength or seed; None leaves one as it is.

    Steps and strength count from the next chunk; with another seed the model starts its stream anew.
    """

    type: Literal["set_controls"]
    steps: Steps | None = None
    seed: Seed | None = None
    strength: Strength | None = None


class Pause(Message):
    """Take no more frames until `resume`; the stream keeps its memory."""

    type: Literal["pause"]


class Resume(Message):
    """Go on after `pause`."""

    type: Literal["resume"]


class Rewind(Message):
    """Go back to the saved stream state nearest to `seconds` ago and branch from there."""

    type: Literal["rewind"]
    seconds: Annotated[float, Field(gt=0, le=3600)]


class StartRecording(Message):
    """Write the edited stream to a file on the server, to be fetched when it is finished."""

    type: Literal["start_recording"]


class StopRecording(Message):
    """Finish the recording."""

    type: Literal["stop_recording"]


class GetStats(Message):
    """Ask for `stats` now; they also come once a second."""

    type: Literal["get_stats"]


class Ping(Message):
    """Measures the way to the server and back: `pong` carries `nonce` again."""

    type: Literal["ping"]
    nonce: Count


Command = (
    SetPrompt
    | SchedulePrompt
    | CancelPrompt
    | SetControls
    | Pause
    | Resume
    | Rewind
    | StartRecording
    | StopRecording
    | GetStats
    | Ping
)
ClientMessage = Hello | Command


class TimedPrompt(Message):
    """An instruction of the timeline; `at_s` is seconds of video since the start of the stream."""

    prompt_id: int
    prompt: str
    at_s: float


class Welcome(Message):
    """Answer to `hello`: the session as it is, so that a client can join or come back at any time."""

    type: Literal["welcome"] = "welcome"
    v: Literal[1] = VERSION
    session: str
    may_control: bool
    state: str
    prompt: str
    prompt_id: int
    timeline: tuple[TimedPrompt, ...]
    width_px: int
    height_px: int
    fps: float
    steps: int | None
    seed: int
    strength: float
    is_paused: bool
    is_recording: bool
    next_frame: int
    stream_s: float


class PromptAccepted(Message):
    """The instruction was read and waits for its chunk; `prompt_id` marks the frames that follow it."""

    type: Literal["prompt_accepted"] = "prompt_accepted"
    prompt_id: int
    prompt: str
    at_s: float


class PromptReached(Message):
    """The instruction reached the picture: `frame` is the first edited raw frame that follows it."""

    type: Literal["prompt_reached"] = "prompt_reached"
    prompt_id: int
    prompt: str
    frame: int


class PromptCancelled(Message):
    """The instruction was taken off the timeline."""

    type: Literal["prompt_cancelled"] = "prompt_cancelled"
    prompt_id: int


class PromptFailed(Message):
    """The instruction cannot be used, or a later one took its place before it reached a frame."""

    type: Literal["prompt_failed"] = "prompt_failed"
    prompt_id: int
    sentence: str


class ControlsSet(Message):
    """Steps, seed and strength from now on; `is_anew` where the stream started again for it."""

    type: Literal["controls_set"] = "controls_set"
    steps: int | None
    seed: int
    strength: float
    is_anew: bool


class PauseChanged(Message):
    """Whether the session takes frames."""

    type: Literal["pause_changed"] = "pause_changed"
    is_paused: bool


class Rewound(Message):
    """The stream goes on from an earlier state; `seconds` is how far back it lies, `frame` the next one."""

    type: Literal["rewound"] = "rewound"
    seconds: float
    frame: int
    prompt: str


class RecordingChanged(Message):
    """A recording began or ended; `recording` fetches it at `/recordings/<recording>`."""

    type: Literal["recording_changed"] = "recording_changed"
    is_recording: bool
    recording: str | None = None


class Stats(Message):
    """What the session does right now.

    `delay_ms` is from the receipt of a raw frame to its edited frame's departure: the median of the last ten
    seconds, and `delay_p99_ms` their slowest hundredth. Of it, `buffering_ms` (median) is what collecting and
    playing whole chunks costs, and `held_ms` (slowest hundredth) what playing evenly costs where the model is
    not even. `frames_dropped` counts frames that came while the model was busy, `frames_resampled` those
    left out because the source is faster than the model's native rate. Counts are from the start of the
    session. `steps` are the denoising steps of the newest chunk, None before the first one: fewer than
    `steps_wanted` where the machine is slower than the native rate. `rewind_s` is how far back `rewind`
    reaches, `stream_s` the seconds of video taken in.
    """

    type: Literal["stats"] = "stats"
    state: str
    fps_in: float
    fps_out: float
    native_fps: float
    delay_ms: float | None
    delay_p99_ms: float | None
    buffering_ms: float | None
    held_ms: float | None
    frames_in: int
    frames_out: int
    frames_dropped: int
    frames_resampled: int
    state_bytes: int
    steps: int | None
    steps_wanted: int
    rewind_s: float
    stream_s: float
    num_viewers: int


class Pong(Message):
    """Answer to `ping`."""

    type: Literal["pong"] = "pong"
    nonce: int


class Ended(Message):
    """The session is over; no more messages follow."""

    type: Literal["ended"] = "ended"
    reason: str


class Error(Message):
    """Something could not be done; the session goes on unless `ended` follows."""

    type: Literal["error"] = "error"
    code: ErrorCode
    sentence: str


ServerMessage = (
    Welcome
    | PromptAccepted
    | PromptReached
    | PromptCancelled
    | PromptFailed
    | ControlsSet
    | PauseChanged
    | Rewound
    | RecordingChanged
    | Stats
    | Pong
    | Ended
    | Error
)

_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


class ProtocolError(Exception):
    """A client sent what the protocol does not allow; `answer` tells it so."""

    def __init__(self, code: ErrorCode, sentence: str) -> None:
        super().__init__(sentence)
        self.answer = Error(code=code, sentence=sentence)


def parse_message(text: str | bytes) -> ClientMessage:
    """Read one text message.

    Raises:
        ProtocolError: If it is too long, no JSON, of an unknown type or version, or a field does not fit.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ProtocolError(
            "too_large", f"got a message of {len(text)} bytes, expected at most {MAX_TEXT_BYTES}"
        )
    try:
        message = _CLIENT.validate_json(text)
    except ValidationError as error:
        raise ProtocolError("bad_message", _sentence(error)) from None
    if isinstance(message, Hello) and message.v != VERSION:
        raise ProtocolError(
            "unknown_version",
            f"got protocol version {message.v}, this server speaks {VERSION}; reload the page",
        )
    return message


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # the place of a field; the type of the message comes first and says nothing new
    place = ".".join(str(part) for part in first["loc"]) or "message"
    return f"cannot read the message: {place}: {first['msg']}"[:300]
