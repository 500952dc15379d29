"""A server in a thread of its own and clients for it; all of it on the loopback address."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from fake_engine import FakeEngine
from vivace.server.app import LiveEngine, Parts, create_app
from vivace.server.faces import Signer
from vivace.server.frame_wire import WireFrame, pack_frame, parse_frame
from vivace.server.settings import ServerSettings

TIMEOUT_S = 10.0


@dataclass
class Served:
    """A server that runs in a thread of its own."""

    address: str
    parts: Parts
    engine: FakeEngine

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(self.address + path, timeout=TIMEOUT_S, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=TIMEOUT_S, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return httpx.delete(self.address + path, timeout=TIMEOUT_S, **options)

    def open(self, prompt: str = "grey 50", **wish: Any) -> dict[str, Any]:
        """`POST /sessions`."""
        answer = self.post("/sessions", json={"prompt": prompt, **wish})
        assert answer.status_code == 201, answer.text
        return answer.json()

    @asynccontextmanager
    async def client(self, opened: dict[str, Any], **hello: Any) -> AsyncIterator["Client"]:
        """A WebSocket that has said hello, with the key unless told otherwise."""
        address = f"{self.address.replace('http', 'ws')}/sessions/{opened['session']}/socket"
        async with connect(address, proxy=None, max_size=None, max_queue=None) as socket_:
            client = Client(socket_)
            key = {} if hello.pop("watch", False) else {"key": opened["key"]}
            await client.say("hello", v=1, **key, **hello)
            yield client


class Client:
    """The other end of a session's WebSocket; keeps what came until somebody asks for it."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self.messages: list[dict[str, Any]] = []
        self.frames: list[WireFrame] = []
        self.num_sent = 0
        self.period_us = 62_500

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def show(self, count: int = 1, size: tuple[int, int] = (64, 48)) -> None:
        """Hand in frames."""
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        for _ in range(count):
            frame = WireFrame(pixels=pixels, index=self.num_sent, captured_us=self.num_sent * self.period_us)
            await self.socket.send(pack_frame(frame))
            self.num_sent += 1

    async def hear(self, kind: str) -> dict[str, Any]:
        """The oldest message of a kind that nobody has taken yet, waiting for one."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for message in self.messages:
                    if message["type"] == kind:
                        self.messages.remove(message)
                        return message
                await self._receive()

    async def see(self, count: int) -> list[WireFrame]:
        """Wait for so many edited frames and take them."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.frames) < count:
                await self._receive()
        taken, self.frames = self.frames[:count], self.frames[count:]
        return taken

    async def _receive(self) -> None:
        data = await self.socket.recv()
        if isinstance(data, str):
            self.messages.append(json.loads(data))
        else:
            self.frames.append(parse_frame(data, max_pixels=10**7))


@contextmanager
def serving(
    engine: LiveEngine, settings: ServerSettings, signer: Signer | None = None
) -> Iterator[tuple[str, Parts]]:
    """Serve an application from a thread; the address and the parts."""

    def fit(width: int, height: int) -> tuple[int, int]:
        return width // 8 * 8, height // 8 * 8

    app = create_app(engine, settings, fit=fit, model="fake", signer=signer)
    config = uvicorn.Config(
        app, log_config=None, ws="websockets-sansio", ws_max_size=settings.limits.max_frame_bytes
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        deadline = time.monotonic() + TIMEOUT_S
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.parts
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()


Serve = Callable[..., Served]


def until(is_so: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
