"""What a server is started with: address, token and limits; reads nothing."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from vivace.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one client may ask for.

    Attributes:
        num_sessions: Sessions at a time.
        num_viewers: Viewers of one session at a time, over all transports.
        num_listeners: WebSockets and data channels of one session at a time, watching or controlling.
        max_queued_frames: Edited frames that wait for one viewer; a slower one loses the oldest.
        max_pixels: Pixels of a frame that comes in.
        max_frame_bytes: Bytes of a frame message on a WebSocket.
        max_prompt_chars: Length of an instruction.
        max_timeline: Instructions waiting on a timeline.
        max_body_bytes: Bytes of an HTTP request's body, which is settings or SDP; no video is uploaded.
        max_messages_per_s: Control messages a second of one connection.
        bitrate_kbps: What WebRTC video to one viewer may take.
        idle_s: A session that gets neither frames nor orders is closed after this time.
        abandoned_s: A session whose last client went away is kept this long, so that it can come back.
        recording_s: Length of a recording.
        num_recordings: Finished recordings kept; the oldest goes.
    """

    num_sessions: int = 4
    num_viewers: int = 8
    num_listeners: int = 32
    max_queued_frames: int = 4
    max_pixels: int = 1920 * 1088
    max_frame_bytes: int = 8_000_000
    max_prompt_chars: int = 300
    max_timeline: int = 64
    max_body_bytes: int = 65_536
    max_messages_per_s: int = 50
    bitrate_kbps: int = 2500
    idle_s: float = 300.0
    abandoned_s: float = 30.0
    recording_s: float = 600.0
    num_recordings: int = 8

    def __post_init__(self) -> None:
        sizes = (
            self.num_sessions,
            self.num_viewers,
            self.num_listeners,
            self.max_queued_frames,
            self.max_pixels,
            self.max_frame_bytes,
            self.max_prompt_chars,
            self.max_timeline,
            self.max_body_bytes,
            self.max_messages_per_s,
            self.bitrate_kbps,
            self.num_recordings,
        )
        if min(sizes) < 1 or min(self.idle_s, self.abandoned_s, self.recording_s) <= 0:
            raise ConfigError("Limits: every limit must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class IceServer:
    """A STUN or TURN server as browsers and aiortc know it."""

    url: str
    username: str | None = None
    credential: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("stun:", "stuns:", "turn:", "turns:")):
            raise ConfigError(f"got ICE server {self.url!r}, expected stun:HOST:PORT or turn:HOST:PORT")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Where the server listens and who may use it.

    Attributes:
        host: Address that it is bound to.
        port: Port; 0 takes a free one.
        token: What a client must show to open sessions; None where everyone on the machine may.
        origins: Web origins besides the server's own that may use it, like `https://example.org`.
        ice_servers: Handed to browsers and used by the server's own side.
        is_tls: Whether the address is https.
        native_fps: Rate at which the model edits; sources are brought to it by their timestamps.
        rewind_s: How far back a session can be rewound.
        least_denoising_steps: Chunks may take fewer steps, down to this number, where the machine is slower
            than `native_fps`; None takes always as many as are asked for.
        recordings: Folder for recordings; None turns them off. Files in it are named by the server alone.
        source: A camera, stream or clip, as `vivace.data.video_source` takes it, for a session of its own,
            opened at the start; None waits for clients.
        source_prompt: The instruction that this session begins with.
        has_badge: Whether recordings show a small mark that they were edited by a model.
        limits: What one client may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()
    ice_servers: tuple[IceServer, ...] = ()
    is_tls: bool = False
    native_fps: float = 16.0
    rewind_s: float = 10.0
    least_denoising_steps: int | None = None
    recordings: Path | None = None
    source: str | None = None
    source_prompt: str = "make it a snowy night"
    has_badge: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(f"got address {self.host}, which others can reach, but no token; give one")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("got a token of less than 8 characters; take a longer one")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
