"""When flashes and clicks come out of a server, and whether they do so together."""

from itertools import pairwise
from time import perf_counter

import av
import numpy as np
import pytest
from aioice.ice import get_host_addresses
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

NEEDS_ADDRESS = pytest.mark.skipif(
    not get_host_addresses(use_ipv4=True, use_ipv6=False),
    reason="aiortc offers no loopback addresses, and this machine has no other",
)
IN_STEP_S = 0.1


async def events(track: MediaStreamTrack, is_on, until_s: float) -> list[float]:
    """When something began, by this process's clock."""
    found, was_on = [], True
    try:
        while perf_counter() < until_s:
            frame = await track.recv()
            on = is_on(frame)
            if on and not was_on:
                found.append(perf_counter())
            was_on = on
    except MediaStreamError:
        pass
    return found


def is_bright(frame: av.VideoFrame) -> bool:
    return frame.to_ndarray(format="rgb24").mean() > 128


def is_loud(frame: av.AudioFrame) -> bool:
    return np.abs(frame.to_ndarray().astype(float)).mean() > 2000


def in_step(flashes: list[float], clicks: list[float]) -> None:
    """Every flash but the first has its click."""
    assert len(flashes) >= 3
    assert len(clicks) >= 3
    offsets = [min((click - flash for click in clicks), key=abs) for flash in flashes[1:-1]]
    print(f"sound after picture: {[round(1000 * one) for one in offsets]} ms")
    assert max(abs(one) for one in offsets) < IN_STEP_S


def begins(levels: list[tuple[float, bool]]) -> list[float]:
    return [at_s for (_, before), (at_s, now) in pairwise(levels) if now and not before]
