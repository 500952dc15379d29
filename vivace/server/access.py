"""Who may use the server: tokens, session keys and web origins; keeps no accounts."""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from vivace.server.settings import ServerSettings, is_loopback

NUM_KEY_BYTES = 18


def new_key() -> str:
    """A secret that cannot be guessed and can stand in an address."""
    return secrets.token_urlsafe(NUM_KEY_BYTES)


def is_same_secret(given: str | None, wanted: str) -> bool:
    """Compare without telling by the time taken how much was right."""
    return given is not None and hmac.compare_digest(given.encode(), wanted.encode())


def bearer(headers: Mapping[str, str]) -> str | None:
    """The secret of an `Authorization: Bearer` header."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() or None if kind.lower() == "bearer" else None


def may_open(settings: ServerSettings, headers: Mapping[str, str]) -> bool:
    """Whether a request shows the server's token, where it needs one."""
    return settings.token is None or is_same_secret(bearer(headers), settings.token)


def is_allowed_host(settings: ServerSettings, headers: Mapping[str, str]) -> bool:
    """Whether the Host header is one under which a tokenless loopback server is meant to be used.

    A page elsewhere can point its own name at 127.0.0.1; its requests then carry that name here.
    """
    if settings.token is not None:
        return True
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return is_loopback(host) or host == settings.host


def is_allowed_origin(settings: ServerSettings, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from the server's own page, an allowed one, or no web page at all."""
    origin = headers.get("origin")
    if origin is None or origin in settings.origins:
        return True
    scheme = "https" if settings.is_tls else "http"
    return origin == f"{scheme}://{headers.get('host', '')}"
