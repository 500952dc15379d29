"""The web application: routes, lifespan and status codes; what they do stands in the other modules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.middleware.cors import CORSMiddleware
from starlette.staticfiles import StaticFiles

from vivace import __version__
from vivace.server.access import bearer, is_same_secret, may_open
from vivace.server.bodies import IceServerInfo, OpenSession, SessionOpened
from vivace.server.faces import Opener, Signer
from vivace.server.feed import Feed
from vivace.server.guard import Guard
from vivace.server.hub import Hub
from vivace.server.lobby import Fit, Lobby
from vivace.server.metrics import Metrics
from vivace.server.protocol import (
    Error,
    ErrorCode,
    ProtocolError,
    Welcome,
)
from vivace.server.recording import Recordings
from vivace.server.settings import ServerSettings
from vivace.server.transport_webrtc import Answered, RtcPeers
from vivace.server.transport_websocket import SocketClient
from vivace.server.trickle import SDP_FRAGMENT

WEB = Path(__file__).parent / "web"
DRAIN_S = 5.0
SDP = "application/sdp"
STATUS: dict[ErrorCode, int] = {
    "bad_message": 400,
    "unknown_version": 400,
    "bad_frame": 400,
    "bad_prompt": 422,
    "too_large": 413,
    "not_allowed": 401,
    "not_possible": 409,
    "unknown_session": 404,
    "session_failed": 500,
    "busy": 503,
    "no_tag": 428,
    "other_tag": 412,
    "no_restart": 422,
    "wrong_type": 415,
}


class LiveEngine(Opener, Protocol):
    """The part of an engine that the application uses."""

    @property
    def is_open(self) -> bool:
        """Whether sessions may be opened."""
        ...


class Parts:
    """What the routes share, from the start of the application to its end."""

    def __init__(
        self, engine: LiveEngine, settings: ServerSettings, fit: Fit, model: str, signer: Signer | None
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.metrics = Metrics.create()
        self.recordings = Recordings(settings, model, signer)
        self.lobby = Lobby(engine, settings, fit, self.recordings, self.metrics)
        self.peers = RtcPeers(settings, self.recordings, self.metrics)
        self.fed: Hub | None = None
        self._feed: Feed | None = None

    async def start(self) -> None:
        """Open the session of the server's own source, where there is one.

        Raises:
            ProtocolError: If its instruction cannot be used.
        """
        if self.settings.source is not None:
            self.fed = await self.lobby.open(OpenSession(prompt=self.settings.source_prompt))
            self._feed = Feed(self.fed, self.settings.source)

    async def drain(self) -> None:
        """Let sessions show what is under work, then end all."""
        if self._feed is not None:
            await self._feed.close()
        await self.lobby.drain(DRAIN_S)
        await self.peers.close()


def create_app(
    engine: LiveEngine, settings: ServerSettings, *, fit: Fit, model: str = "", signer: Signer | None = None
) -> FastAPI:
    """The application. `app.state.parts` are its `Parts`.

    Args:
        engine: Opens sessions; the caller closes it after the application has ended.
        settings: Token and limits; the caller binds to `settings.host`.
        fit: Width and height of edited frames for those of a source, as `Editor.fit`.
        model: Its name, for recordings.
        signer: Signs recordings; None leaves them unsigned.
    """
    parts = Parts(engine, settings, fit, model, signer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await parts.start()
        watch = asyncio.create_task(parts.lobby.watch_over(), name="lobby")
        yield
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await parts.drain()

    # the interactive documents of FastAPI load scripts from elsewhere
    app = FastAPI(title="Vivace live", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.parts = parts
    app.add_middleware(Guard, settings=settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["authorization", "content-type", "if-match"],
            expose_headers=["location", "etag", "accept-patch"],
        )
    app.add_exception_handler(ProtocolError, _answer_protocol_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    _add_pages(app)
    _add_status(app, parts)
    _add_sessions(app, parts)
    _add_webrtc(app, parts)
    return app


def _add_pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=WEB), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/view/{session}", include_in_schema=False)
    async def view(session: str) -> FileResponse:
        return FileResponse(WEB / "view.html", headers={"cache-control": "no-cache"})


def _add_status(app: FastAPI, parts: Parts) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        """Whether a session could be opened now; 503 if not."""
        has_room = parts.lobby.num_sessions < parts.settings.limits.num_sessions
        is_ready = parts.engine.is_open and not parts.lobby.is_draining and has_room
        response.status_code = 200 if is_ready else 503
        return {"ready": is_ready, "draining": parts.lobby.is_draining, "sessions": parts.lobby.num_sessions}

    @app.get("/metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """Prometheus text."""
        _require(may_open(parts.settings, request.headers), "the server's token")
        return Response(parts.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_sessions(app: FastAPI, parts: Parts) -> None:
    @app.post("/sessions", status_code=201)
    async def open_session(wish: OpenSession, request: Request) -> SessionOpened:
        """Open a session; the answer names it and gives the key that publishes and controls."""
        _require(may_open(parts.settings, request.headers), "the server's token")
        hub = await parts.lobby.open(wish)
        width, height = hub.size
        servers = tuple(
            IceServerInfo(urls=one.url, username=one.username, credential=one.credential)
            for one in parts.settings.ice_servers
        )
        return SessionOpened(
            session=hub.name,
            key=hub.key,
            prompt=wish.prompt,
            width_px=width,
            height_px=height,
            fps=parts.settings.native_fps,
            ice_servers=servers,
            can_record=parts.settings.recordings is not None,
        )

    @app.get("/sessions/{session}")
    async def describe_session(session: str) -> Welcome:
        """A session as it is, for those who know its name."""
        return parts.lobby.find(session).welcome(may_control=False)

    @app.delete("/sessions/{session}", status_code=204)
    async def end_session(session: str, request: Request) -> None:
        """End a session."""
        hub = parts.lobby.find(session)
        _require_key(hub, request)
        await parts.lobby.end(hub, "closed")

    @app.websocket("/sessions/{session}/socket")
    async def socket(socket: WebSocket, session: str) -> None:
        await SocketClient(socket, parts.lobby, parts.recordings, parts.metrics).serve(session)

    @app.get("/recordings/{recording}", response_class=FileResponse)
    async def recording(recording: str) -> FileResponse:
        """A finished recording, for those who know its name."""
        path = parts.recordings.find(recording)
        if path is None:
            raise ProtocolError("unknown_session", "there is no such recording")
        return FileResponse(path, media_type="video/mp4", filename="vivace.mp4")


def _add_webrtc(app: FastAPI, parts: Parts) -> None:
    @app.post("/whip/{session}", status_code=201, response_class=Response, openapi_extra=_body(SDP))
    async def publish(session: str, request: Request) -> Response:
        """WHIP: publish to a session; the bearer token is the session's key."""
        hub = parts.lobby.find(session)
        _require_key(hub, request)
        return _created(await parts.peers.publish(hub, await _offer(request)), f"/whip/{session}")

    @app.post("/whep/{session}", status_code=201, response_class=Response, openapi_extra=_body(SDP))
    async def play(session: str, request: Request) -> Response:
        """WHEP: watch a session; knowing its name is enough."""
        hub = parts.lobby.find(session)
        return _created(await parts.peers.play(hub, await _offer(request)), f"/whep/{session}")

    @app.patch("/whip/{session}/{name}", status_code=204, openapi_extra=_body(SDP_FRAGMENT))
    async def trickle_to_publisher(session: str, name: str, request: Request) -> None:
        """Candidates of a WHIP connection, found after its offer; `If-Match` is the answer's ETag."""
        _require_key(_peer_hub(parts, session, name), request)
        await _trickle(parts, name, request)

    @app.patch("/whep/{session}/{name}", status_code=204, openapi_extra=_body(SDP_FRAGMENT))
    async def trickle_to_viewer(session: str, name: str, request: Request) -> None:
        """Candidates of a WHEP connection that were found after its offer."""
        _peer_hub(parts, session, name)
        await _trickle(parts, name, request)

    @app.delete("/whip/{session}/{name}")
    async def stop_publishing(session: str, name: str, request: Request) -> Response:
        """End a WHIP connection."""
        hub = _peer_hub(parts, session, name)
        _require_key(hub, request)
        await parts.peers.end(name)
        return Response(status_code=200)

    @app.delete("/whep/{session}/{name}")
    async def stop_playing(session: str, name: str) -> Response:
        """End a WHEP connection."""
        _peer_hub(parts, session, name)
        await parts.peers.end(name)
        return Response(status_code=200)


def _peer_hub(parts: Parts, session: str, name: str) -> Hub:
    hub = parts.peers.hub_of(name)
    if hub is None or hub.name != session:
        raise ProtocolError("unknown_session", "there is no such connection; it may have ended")
    return hub


def _body(kind: str) -> dict[str, object]:
    return {"requestBody": {"content": {kind: {"schema": {"type": "string"}}}, "required": True}}


def _created(answered: Answered, endpoint: str) -> Response:
    headers = {
        "location": f"{endpoint}/{answered.name}",
        "etag": answered.tag,
        "accept-patch": SDP_FRAGMENT,
    }
    return Response(answered.sdp, status_code=201, media_type=SDP, headers=headers)


async def _trickle(parts: Parts, name: str, request: Request) -> None:
    text = await _text(request, SDP_FRAGMENT)
    await parts.peers.add_candidates(name, text, request.headers.get("if-match"))


async def _offer(request: Request) -> str:
    return await _text(request, SDP)


async def _text(request: Request, wanted: str) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise ProtocolError("wrong_type", f"got content of type {kind or 'none'}, expected {wanted}")
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise ProtocolError("bad_message", f"got {wanted} that is no text") from None


def _require(is_given: bool, what: str) -> None:
    if not is_given:
        raise ProtocolError("not_allowed", f"expected {what} as Authorization: Bearer")


def _require_key(hub: Hub, request: Request) -> None:
    _require(is_same_secret(bearer(request.headers), hub.key), "the session's key")


async def _answer_protocol_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProtocolError)
    headers = {"retry-after": "5"} if error.answer.code == "busy" else {}
    return JSONResponse(error.answer.model_dump(), STATUS[error.answer.code], headers)


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "body"
    answer = Error(code="bad_message", sentence=f"cannot read the request: {place}: {first['msg']}"[:300])
    return JSONResponse(answer.model_dump(), 422)
