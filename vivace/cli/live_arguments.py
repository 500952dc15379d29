"""What the commands of live sessions take, as typed dataclasses; imports no torch, so help is instant."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, UseAppendAction, arg

from vivace.cli.shared_arguments import Flag, Json, RunOptions, Steps


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveBenchArguments:
    """Arguments of `vivace bench live`."""

    over: Annotated[
        tuple[Literal["process", "websocket", "webrtc"], ...],
        arg(
            metavar="{process,websocket,webrtc} ...",
            help="how frames reach the engine: in one process, or over loopback from another one",
        ),
    ] = ("process", "websocket", "webrtc")
    sessions: Annotated[
        tuple[int, ...],
        arg(metavar="N ...", help="numbers of sessions at the same time, one after the other"),
    ] = (1,)
    sweep: Annotated[
        Flag,
        arg(
            help="in one process, more and more sessions (1 2 4 .. 64, or those named) until they are late, "
            "100 s in all; one table",
            help_behavior_hint="",
        ),
    ] = False
    duration: Annotated[float, arg(metavar="SECONDS", help="how long each measurement sends")] = 20.0
    fps: Annotated[float, arg(metavar="FPS", help="frames a second of each session")] = 16.0
    size: Annotated[
        str | None,
        arg(metavar="WxH", help="picture size", help_behavior_hint="(default: the model's native size)"),
    ] = None
    steps: Steps = None
    min_steps: Annotated[
        int | None,
        arg(
            metavar="N",
            help="a chunk may take fewer steps, down to N, where all are too slow",
            help_behavior_hint="(default: always all)",
        ),
    ] = None
    batch: Annotated[
        int | None,
        arg(
            metavar="N",
            help="sessions that may share a model call",
            help_behavior_hint="(default: 1, or 8 on a GPU without graphs)",
        ),
    ] = None
    graphs: Annotated[
        Literal["auto", "off", "dit", "all"],
        arg(help="what a GPU replays from CUDA graphs; all includes the VAE, auto is all for small models"),
    ] = "auto"
    rewind: Annotated[
        float, arg(metavar="SECONDS", help="how far back sessions can go; saving states takes time")
    ] = 10.0
    stagger: Annotated[
        float, arg(metavar="SECONDS", help="in one process, spread the starts of sessions over this time")
    ] = 0.25
    write: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="also write a dated result there, for example benchmarks/results",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    json: Json = False
    run: Annotated[RunOptions, OmitArgPrefixes] = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeArguments:
    """Arguments of `vivace serve`."""

    source: Annotated[
        str | None,
        arg(
            metavar="INPUT",
            help="also edit this all the time, in a session of its own: camera:0, a clip, rtsp://..., or "
            "rtmp://HOST:PORT/APP/KEY?listen for a sender",
            help_behavior_hint="(default: none)",
        ),
    ] = None
    prompt: Annotated[
        str, arg(aliases=["-p"], metavar="PROMPT", help="the instruction that --source begins with")
    ] = "make it a snowy night"
    host: Annotated[
        str, arg(metavar="ADDRESS", help="address to listen on; others than 127.0.0.1 need a token")
    ] = "127.0.0.1"
    port: Annotated[int, arg(metavar="PORT", help="port; 0 takes a free one")] = 8000
    token: Annotated[
        str | None,
        arg(
            metavar="SECRET",
            help="what clients must show to open sessions",
            help_behavior_hint="(default: none on 127.0.0.1, else a new one, printed at the start)",
        ),
    ] = None
    origin: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="ORIGIN", help="another web origin that may use the server, like https://example.org"),
    ] = ()
    tls: Annotated[
        Flag,
        arg(
            help="serve https with a certificate made on the spot; cameras need it off localhost",
            help_behavior_hint="",
        ),
    ] = False
    ice_server: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="URL", help="stun:HOST:PORT, or turn:USER:PASSWORD@HOST:PORT; for WebRTC across networks"
        ),
    ] = ()
    fps: Annotated[float, arg(metavar="FPS", help="rate at which the model edits")] = 16.0
    min_steps: Annotated[
        int | None,
        arg(
            metavar="N",
            help="where the machine is too slow for all denoising steps take fewer, down to N, before frames "
            "are dropped; 8 takes always all",
            help_behavior_hint="(default: the model's own, 2 for tiny-edit)",
        ),
    ] = None
    sessions: Annotated[int, arg(metavar="N", help="sessions at a time")] = 4
    bitrate: Annotated[int, arg(metavar="KBPS", help="WebRTC video to one viewer at most")] = 2500
    recordings: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="where recordings stay",
            help_behavior_hint="(default: a temporary folder, removed at the end)",
        ),
    ] = None
    badge: Annotated[
        Flag, arg(help="show a small mark in recordings that they are edited", help_behavior_hint="")
    ] = False
    sign: Annotated[
        tuple[Path, Path] | None,
        arg(
            metavar="CHAIN KEY",
            help="sign recordings (C2PA) with this certificate chain and key, both PEM",
            help_behavior_hint="(default: not signed)",
        ),
    ] = None
    json_logs: Annotated[Flag, arg(help="write the log as JSON lines", help_behavior_hint="")] = False
    run: Annotated[RunOptions, OmitArgPrefixes] = field(default_factory=RunOptions)
