"""A session that the server feeds itself, from a clip."""

import asyncio
import socket
import time
from pathlib import Path

import httpx
import pytest

from fake_engine import FakeEngine
from served import Served, serving, until
from small_clips import write_clip
from vivace.server.settings import ServerSettings


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second at 25 frames a second."""
    return write_clip(tmp_path / "clip.mp4", [40 * index for index in range(12)])


def feeding(source: object):
    engine = FakeEngine()
    settings = ServerSettings(source=str(source), source_prompt="grey 90", native_fps=25)
    return engine, serving(engine, settings)  # pyright: ignore[reportArgumentType]


def opened(served: Served) -> dict[str, str]:
    hub = served.parts.fed
    assert hub is not None
    return {"session": hub.name, "key": hub.key}


def test_a_clip_is_edited_at_its_own_speed_and_begins_again(clip):
    engine, server = feeding(clip)
    with server as (address, parts):
        served = Served(address, parts, engine)

        async def watch() -> None:
            async with served.client(opened(served)) as client:
                frames = await client.see(24)
                assert round(float(frames[-1].pixels.mean())) == pytest.approx(90, abs=2)
                times_s = [frame.captured_us / 1e6 for frame in frames]
                assert times_s == sorted(times_s)
                # two rounds of 0.48 s at least, or frames came faster than life
                assert times_s[-1] - times_s[0] > 0.8
                await client.say("set_prompt", prompt="grey 200")
                await client.hear("prompt_reached")

        asyncio.run(watch())
        hub = parts.fed
    assert hub is not None
    assert hub.is_over


def test_a_client_that_publishes_takes_over_and_gives_back(clip):
    engine, server = feeding(clip)
    with server as (address, parts):
        served = Served(address, parts, engine)
        feed = parts._feed
        assert feed is not None

        async def publish() -> None:
            async with served.client(opened(served)) as client:
                await client.see(4)
                await client.show(4)
                await asyncio.to_thread(until, lambda: feed._is_replaced)

        asyncio.run(publish())
        until(lambda: not feed._is_replaced)


def test_a_source_that_is_not_there_is_tried_again(tmp_path, clip, caplog):
    late = tmp_path / "late.mp4"
    engine, server = feeding(late)
    with server as (address, parts):
        served = Served(address, parts, engine)
        until(lambda: "no file at" in caplog.text)
        clip.rename(late)

        async def watch() -> None:
            async with served.client(opened(served)) as client:
                await client.see(4)

        asyncio.run(watch())


def test_a_source_that_never_comes_keeps_nobody_from_ending_the_server():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    _, server = feeding(f"rtmp://127.0.0.1:{port}/live/key?listen")
    with server as (address, _):
        assert httpx.get(f"{address}/readyz").json()["sessions"] == 1
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5
