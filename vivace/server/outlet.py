"""What goes out of a session: shown frames, encoded once for all viewers, and a short queue to each."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from vivace.server.frame_wire import WireFrame, pack_frame


@dataclass(frozen=True, slots=True)
class ShownDelays:
    """What lies between the arrival of a raw frame and the showing of its edited frame, in seconds.

    Attributes:
        total_s: All of it.
        buffering_s: Chunk buffering: the first frame of a chunk waits for the last one to arrive; the last
            one, edited at the same moment, waits for its turn to be shown. At most what the chunk lasts.
        model_s: The model's work on the complete chunk, also for other sessions meanwhile.
        engine_s: What else passed between the complete chunk and its edited frames.
        held_s: Held back beyond that, so that frames come evenly although the model does not.
    """

    total_s: float
    buffering_s: float
    model_s: float
    engine_s: float
    held_s: float


@dataclass(frozen=True, slots=True, eq=False)
class ShownFrame:
    """An edited raw frame on its way to viewers.

    Attributes:
        pixels: RGB.
        index: Place in the session's stream; goes back with a rewind.
        prompt_id: Instruction that it follows.
        words: The same in words.
        captured_s: When its raw frame was taken, on the sender's clock.
        arrived_s: When its raw frame arrived, on the server's clock.
        span_s: What waiting for its chunk costs: from the arrival of the chunk's first frame to its last.
        model_s: How long the model worked on its chunk.
        engine_s: What else passed between the complete chunk and its edited frames.
    """

    pixels: UInt8[np.ndarray, "h w c"]
    index: int
    prompt_id: int
    words: str
    captured_s: float
    arrived_s: float
    span_s: float = 0.0
    model_s: float = 0.0
    engine_s: float = 0.0
    _packed: list[asyncio.Future[bytes]] = field(default_factory=list)

    def delays(self, now_s: float) -> "ShownDelays":
        """What its delay consists of, if it is shown now."""
        total_s = max(0.0, now_s - self.arrived_s)
        waited_s = max(0.0, total_s - self.model_s - self.engine_s)
        buffering_s = min(waited_s, self.span_s)
        return ShownDelays(total_s, buffering_s, self.model_s, self.engine_s, waited_s - buffering_s)

    async def packed(self, now_s: float) -> bytes:
        """The frame as JPEG with its header; the first caller's thread does the work for all."""
        if not self._packed:
            wire = WireFrame(
                pixels=self.pixels,
                index=self.index,
                captured_us=max(0, round(self.captured_s * 1e6)),
                prompt_id=self.prompt_id,
                server_us=max(0, round((now_s - self.arrived_s) * 1e6)),
            )
            loop = asyncio.get_running_loop()
            self._packed.append(loop.run_in_executor(None, pack_frame, wire))
        # a viewer that leaves must not cancel the work for the others
        return await asyncio.shield(self._packed[0])


class Outlet:
    """One viewer's queue of frames: it holds few, and a slow viewer loses the oldest."""

    def __init__(self, max_frames: int) -> None:
        self._frames: deque[ShownFrame] = deque(maxlen=max_frames)
        self._has_frames = asyncio.Event()
        self._is_closed = False
        self.num_dropped = 0

    def put(self, frame: ShownFrame) -> None:
        """Hand in a frame."""
        self.num_dropped += len(self._frames) == self._frames.maxlen
        self._frames.append(frame)
        self._has_frames.set()

    def close(self) -> None:
        """No more frames come."""
        self._is_closed = True
        self._has_frames.set()

    async def get(self) -> ShownFrame | None:
        """The oldest frame, waiting for one; None when the session is over."""
        await self._has_frames.wait()
        if not self._frames:
            return None
        frame = self._frames.popleft()
        if not self._frames and not self._is_closed:
            self._has_frames.clear()
        return frame
