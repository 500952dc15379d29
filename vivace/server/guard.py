"""Refuses requests before any route sees them: foreign hosts and origins, bodies that are too long."""

import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vivace.server.access import is_allowed_host, is_allowed_origin
from vivace.server.protocol import Error, ErrorCode
from vivace.server.settings import ServerSettings

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class BodyTooLong(Exception):
    """A request's body has more bytes than allowed."""


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not is_allowed_host(self._settings, headers) or not is_allowed_origin(self._settings, headers):
            await _refuse(scope, send, 403, "not_allowed", "this page or address may not use the server")
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._serve_http(scope, headers, receive, send)

    async def _serve_http(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        limit = self._settings.limits.max_body_bytes
        num_bytes = 0
        has_started = False

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                if num_bytes > limit:
                    raise BodyTooLong
            return message

        async def with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                found = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        length = headers.get("content-length", "0")
        try:
            if not length.isdigit() or int(length) > limit:
                raise BodyTooLong
            await self._app(scope, limited, with_headers)
        except BodyTooLong:
            if not has_started:
                await _refuse(scope, send, 413, "too_large", f"expected a body of at most {limit} bytes")


async def _refuse(scope: Scope, send: Send, status: int, code: ErrorCode, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": sentence})
        return
    body = Error(code=code, sentence=sentence).model_dump(mode="json")
    raw = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": raw})
