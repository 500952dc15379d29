"""Candidates that come after the offer: reads the fragments of RFC 8840 as WHIP sends them (RFC 9725)."""

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.sdp import candidate_from_sdp

from vivace.server.protocol import ProtocolError

SDP_FRAGMENT = "application/trickle-ice-sdpfrag"
# Candidates of one connection; a machine has a handful.
MAX_CANDIDATES = 64
USERNAME = re.compile(r"^a=ice-ufrag:(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a fragment says.

    Attributes:
        username: Which ICE session it belongs to; None where it does not say.
        candidates: With the media section they are for.
        is_last: Whether no more come.
    """

    username: str | None
    candidates: tuple[RTCIceCandidate, ...]
    is_last: bool


def username_of(sdp: str) -> str | None:
    """The first ICE user name of an offer or a fragment."""
    found = USERNAME.search(sdp)
    return found[1] if found else None


def parse_fragment(text: str) -> Fragment:
    """Read a fragment.

    Raises:
        ProtocolError: If it has no line of its kind, too many candidates or one that cannot be read.
    """
    mid: str | None = None
    candidates: list[RTCIceCandidate] = []
    is_last = False
    for line in text.splitlines():
        if line.startswith("a=mid:"):
            mid = line.removeprefix("a=mid:").strip()
        elif line.startswith("a=candidate:"):
            candidates.append(_candidate(line.removeprefix("a=candidate:"), mid))
        elif line.startswith("a=end-of-candidates"):
            is_last = True
    if len(candidates) > MAX_CANDIDATES:
        raise ProtocolError(
            "too_large", f"got {len(candidates)} candidates, expected at most {MAX_CANDIDATES} at a time"
        )
    username = username_of(text)
    if username is None and not candidates and not is_last:
        raise ProtocolError("bad_message", "got a fragment without candidates, expected a=candidate lines")
    return Fragment(username, tuple(candidates), is_last)


def _candidate(text: str, mid: str | None) -> RTCIceCandidate:
    if mid is None:
        raise ProtocolError("bad_message", "got a candidate before a=mid, expected its media section first")
    try:
        candidate = candidate_from_sdp(text)
    # aiortc checks by assertions and conversions
    except (AssertionError, ValueError, IndexError):
        raise ProtocolError("bad_message", f"cannot read the candidate {text[:80]!r}") from None
    candidate.sdpMid = mid
    return candidate
