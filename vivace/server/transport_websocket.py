"""Frames and messages over one WebSocket: the way that works wherever a page loads."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from fastapi import WebSocket, WebSocketDisconnect

from vivace.server.access import is_same_secret
from vivace.server.control import Control
from vivace.server.frame_wire import parse_frame
from vivace.server.hub import Hub
from vivace.server.lobby import Lobby
from vivace.server.metrics import Metrics
from vivace.server.outlet import Outlet
from vivace.server.protocol import Ended, Error, Hello, ProtocolError, ServerMessage, parse_message
from vivace.server.recording import Recordings

HELLO_TIMEOUT_S = 10.0
# Messages that wait for a client; one that reads so slowly is cut off.
MAX_WAITING = 256
# Damaged frames in a row after which a client is cut off.
MAX_BAD_FRAMES = 20
GOING_AWAY, POLICY, UNKNOWN_SESSION = 1001, 1008, 4404


class SocketClient:
    """One WebSocket of a session."""

    def __init__(self, socket: WebSocket, lobby: Lobby, recordings: Recordings, metrics: Metrics) -> None:
        self._socket = socket
        self._lobby = lobby
        self._recordings = recordings
        self._metrics = metrics
        self._messages: asyncio.Queue[ServerMessage] = asyncio.Queue()
        self._num_bad_frames = 0
        self._is_replaced = False
        self._is_too_slow = False
        self._sending = asyncio.Lock()

    async def serve(self, name: str) -> None:
        """Talk until one side ends it."""
        await self._socket.accept()
        try:
            hello = await self._hello()
            hub = self._lobby.find(name)
            may_control = is_same_secret(hello.key, hub.key)
            if hello.key is not None and not may_control:
                raise ProtocolError("not_allowed", "this is not the session's key")
            stop_listening = hub.audience.add_listener(self._tell)
        except ProtocolError as error:
            await self._refuse(error.answer)
            return
        except (WebSocketDisconnect, TimeoutError, RuntimeError):
            return
        try:
            outlet = hub.audience.add_viewer() if hello.frames == "jpeg" else None
        except ProtocolError as error:
            stop_listening()
            await self._refuse(error.answer)
            return
        await self._talk(hub, outlet, stop_listening, may_control=may_control)

    def replaced(self) -> None:
        """Another connection hands in the frames of this session now."""
        self._is_replaced = True
        self._tell(Error(code="not_allowed", sentence="another connection took over as the source"))

    async def _hello(self) -> Hello:
        message = parse_message(await asyncio.wait_for(self._socket.receive_text(), HELLO_TIMEOUT_S))
        if not isinstance(message, Hello):
            raise ProtocolError("bad_message", f"got {message.type}, expected a hello first")
        return message

    async def _refuse(self, answer: Error) -> None:
        self._metrics.refused.labels(answer.code).inc()
        try:
            await self._socket.send_text(answer.model_dump_json())
            await self._socket.close(UNKNOWN_SESSION if answer.code == "unknown_session" else POLICY)
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _talk(
        self, hub: Hub, outlet: Outlet | None, stop_listening: Callable[[], None], *, may_control: bool
    ) -> None:
        control = Control(hub, self._recordings, self._metrics, self._tell, may_control=may_control)
        control.greet()
        works = [self._receive(hub, control), self._send_messages()]
        if outlet is not None:
            works.append(self._send_frames(outlet))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop_listening()
            hub.audience.remove_publisher(self)
            if outlet is not None:
                hub.audience.remove_viewer(outlet)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, message: ServerMessage) -> None:
        if self._messages.qsize() >= MAX_WAITING:
            self._is_too_slow = True
            return
        self._messages.put_nowait(message)

    async def _send_messages(self) -> None:
        try:
            while not self._is_too_slow:
                message = await self._messages.get()
                async with self._sending:
                    await self._socket.send_text(message.model_dump_json())
                if isinstance(message, Ended):
                    await self._socket.close(GOING_AWAY)
                    return
            await self._socket.close(POLICY)
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _send_frames(self, outlet: Outlet) -> None:
        try:
            while (frame := await outlet.get()) is not None:
                data = await frame.packed(perf_counter())
                async with self._sending:
                    await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError):
            return

    async def _receive(self, hub: Hub, control: Control) -> None:
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                return
            data, text = event.get("bytes"), event.get("text")
            if text is not None:
                await control.handle(text)
            elif data is not None and not await self._take_frame(hub, control, data):
                return

    async def _take_frame(self, hub: Hub, control: Control, data: bytes) -> bool:
        """Hand a frame in; false where the client is to be cut off."""
        if self._is_replaced:
            return True
        try:
            if not control.may_control:
                raise ProtocolError("not_allowed", "this connection may watch only and hands in no frames")
            frame = await asyncio.to_thread(parse_frame, data, max_pixels=hub.limits.max_pixels)
            hub.audience.set_publisher(self)
            hub.push(frame.pixels, frame.captured_us / 1e6)
        except ProtocolError as error:
            self._metrics.refused.labels(error.answer.code).inc()
            self._tell(error.answer)
            self._num_bad_frames += 1
            return self._num_bad_frames < MAX_BAD_FRAMES
        self._num_bad_frames = 0
        return True
