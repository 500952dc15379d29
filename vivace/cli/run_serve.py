"""`vivace serve`: builds engine and application, listens, says where, and ends in order."""

import contextlib
import gc
import json
import logging
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from vivace.cli.live_arguments import ServeArguments
from vivace.core.errors import InputError

try:
    import uvicorn

    from vivace.server.access import new_key
    from vivace.server.app import DRAIN_S, Parts, create_app
    from vivace.server.certificate import write_certificate
    from vivace.server.faces import Signer
    from vivace.server.protocol import MAX_STEPS
    from vivace.server.settings import IceServer, Limits, ServerSettings, is_loopback
except ModuleNotFoundError as error:
    raise InputError(
        f"vivace serve needs the package {error.name}, which is not installed; "
        "install it with: pip install 'vivace[serve]'"
    ) from None

from vivace.catalog.editor import open_editor
from vivace.catalog.load import live_threads
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.warm_up import warm_up

TURN_WITH_LOGIN = re.compile(r"(turns?:)([^:@]+):([^@]*)@(.+)")


class LiveServer(uvicorn.Server):
    """Says where it listens once it does; lets sessions show what is under work before it ends."""

    def __init__(self, config: uvicorn.Config, parts: Parts, address: str) -> None:
        super().__init__(config)
        self._parts = parts
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        print(f"Vivace is live at {self._address}", flush=True)
        fed = self._parts.fed
        if fed is not None:
            base = self._address.partition("#")[0]
            print(f"its source is steered at {base}#session={fed.name}&key={fed.key}")
            print(f"and watched at {base}view/{fed.name}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        await self._parts.drain()
        await super().shutdown(sockets)


class JsonLines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            facts["error"] = self.formatException(record.exc_info)
        return json.dumps(facts)


def run_serve(arguments: ServeArguments) -> int:
    """Run the command and return the exit code.

    Raises:
        InputError: If the model, address, certificate or folder cannot be used.
        ConfigError: If a limit is out of range.
    """
    if arguments.recordings is not None and not arguments.recordings.is_dir():
        raise InputError(f"there is no folder {arguments.recordings} for recordings; create it first")
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vivace-")))
        settings = server_settings(arguments, arguments.recordings or temporary)
        signer = None if arguments.sign is None else load_signer(*arguments.sign)
        listening = stack.enter_context(_listen(settings.host, settings.port))
        run = arguments.run
        editor = open_editor(
            run.model,
            device=run.device,
            dtype=run.precision,
            num_threads=live_threads(run.threads),
            vae_frames=run.vae_frames,
        )
        warm_up(editor.pipeline, editor.defaults)
        if settings.least_denoising_steps is None:
            settings = replace(settings, least_denoising_steps=editor.defaults.least_denoising_steps)
        # what is here now stays: collections that look through all of it would be pauses for every session
        gc.collect()
        gc.freeze()
        engine = Engine(
            editor.pipeline, editor.defaults, EngineSettings(max_sessions=settings.limits.num_sessions)
        )
        stack.callback(engine.close, drain=False)
        app = create_app(engine, settings, fit=editor.fit, model=str(run.model), signer=signer)
        certificate = write_certificate(temporary, settings.host) if arguments.tls else None
        config = uvicorn.Config(
            app,
            log_config=None,
            ws="websockets-sansio",
            ws_max_size=settings.limits.max_frame_bytes,
            timeout_graceful_shutdown=round(DRAIN_S),
            ssl_certfile=None if certificate is None else certificate.certificate,
            ssl_keyfile=None if certificate is None else certificate.key,
        )
        _log_to_stderr(is_json=arguments.json_logs)
        shown = address(settings, listening.getsockname()[1])
        # uvicorn ends in order and then raises the signal again; without this SIGTERM would skip the clean-up
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        stack.callback(signal.signal, signal.SIGTERM, previous)
        with contextlib.suppress(KeyboardInterrupt):
            LiveServer(config, app.state.parts, shown).run([listening])
    return 0


def server_settings(arguments: ServeArguments, recordings: Path) -> ServerSettings:
    """Read the words of a command line.

    Raises:
        InputError: If a port, a rate or a number of steps is out of range.
        ConfigError: If a limit is out of range.
    """
    if not 0 <= arguments.port <= 65_535:
        raise InputError(f"got port {arguments.port}, expected 0 to 65535")
    if arguments.min_steps is not None and not 1 <= arguments.min_steps <= MAX_STEPS:
        raise InputError(f"got at least {arguments.min_steps} denoising steps, expected 1 to {MAX_STEPS}")
    if not 1 <= arguments.fps <= 120:
        raise InputError(f"got {arguments.fps:g} frames per second, expected 1 to 120")
    token = arguments.token
    if token is None and not is_loopback(arguments.host):
        token = new_key()
    return ServerSettings(
        host=arguments.host,
        port=arguments.port,
        token=token,
        origins=arguments.origin,
        ice_servers=tuple(parse_ice_server(text) for text in arguments.ice_server),
        is_tls=arguments.tls,
        native_fps=arguments.fps,
        least_denoising_steps=arguments.min_steps,
        recordings=recordings,
        source=arguments.source,
        source_prompt=arguments.prompt,
        has_badge=arguments.badge,
        limits=Limits(num_sessions=arguments.sessions, bitrate_kbps=arguments.bitrate),
    )


def load_signer(certificate: Path, key: Path) -> Signer:
    """What signs recordings.

    Raises:
        InputError: If the package for it is missing, or certificate and key cannot be used.
    """
    try:
        from vivace.server.provenance import RecordingSigner
    except ModuleNotFoundError as error:
        raise InputError(
            f"signing recordings needs the package {error.name}, which is not installed; "
            "install it with: pip install 'vivace[provenance]'"
        ) from None
    return RecordingSigner.load(certificate, key)


def parse_ice_server(text: str) -> IceServer:
    """A STUN or TURN server from `stun:HOST:PORT` or `turn:USER:PASSWORD@HOST:PORT`.

    Raises:
        ConfigError: If it has another form.
    """
    if match := TURN_WITH_LOGIN.fullmatch(text):
        return IceServer(url=match[1] + match[4], username=match[2], credential=match[3])
    return IceServer(url=text)


def address(settings: ServerSettings, port: int) -> str:
    """What to open in a browser; the token stands behind #, which browsers send to nobody."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.is_tls else "http"
    token = f"#token={settings.token}" if settings.token else ""
    return f"{scheme}://{shown}:{port}/{token}"


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"cannot listen on {host}:{port} ({reason}); choose another --host or --port"
            ) from None
        yield listening


def _log_to_stderr(*, is_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if is_json else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # uvicorn names the path of every connection, and a session's name is what lets people watch it
    for name in ("uvicorn.access", "uvicorn.error", "aioice"):
        logging.getLogger(name).setLevel(logging.WARNING)
