"""What goes over HTTP to open a session and comes back, as typed JSON; moves no bytes itself."""

from typing import Literal

from vivace.server.protocol import VERSION, Message, Seed, Side, Steps, Strength, Words


class OpenSession(Message):
    """Body of `POST /sessions`; None leaves a choice to the model.

    `width_px` and `height_px` are those of the source; the server moves them to a size that the model edits.
    """

    v: Literal[1] = VERSION
    prompt: Words
    width_px: Side | None = None
    height_px: Side | None = None
    steps: Steps | None = None
    seed: Seed = 0
    strength: Strength = 1.0


class IceServerInfo(Message):
    """A STUN or TURN server in the form that browsers take."""

    urls: str
    username: str | None = None
    credential: str | None = None


class SessionOpened(Message):
    """Answer to `POST /sessions`: `session` lets people watch, `key` lets them publish and control."""

    v: Literal[1] = VERSION
    session: str
    key: str
    prompt: str
    width_px: int
    height_px: int
    fps: float
    ice_servers: tuple[IceServerInfo, ...]
    can_record: bool
