"""Recordings of edited streams as MP4 files that say how they were made; names every file itself."""

import asyncio
import json
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vivace import __version__
from vivace.server.access import new_key
from vivace.server.hub import Hub
from vivace.server.outlet import ShownFrame
from vivace.server.protocol import ProtocolError, RecordingChanged
from vivace.server.settings import ServerSettings

TICKS_PER_S = 90_000
# Frames that wait for the encoder; a recording loses frames rather than holding up the stream.
MAX_WAITING = 64
BADGE = "AI edited"
PART_SUFFIX = ".part"


class _Writer(threading.Thread):
    """Encodes the frames of one recording; writes to a part file and gives it its name at the end."""

    def __init__(self, path: Path, settings: ServerSettings, model: str) -> None:
        super().__init__(name="recording", daemon=True)
        self.path = path
        self.num_frames = 0
        self.num_lost = 0
        self.error: Exception | None = None
        self._settings = settings
        self._model = model
        self._frames: queue.Queue[ShownFrame | None] = queue.Queue()
        self._first_s: float | None = None
        self._last_ticks = -1
        self._instructions: list[dict[str, object]] = []
        self._began = datetime.now(UTC)

    def put(self, frame: ShownFrame) -> None:
        """Queue a frame; called from the event loop."""
        if self._frames.qsize() >= MAX_WAITING:
            self.num_lost += 1
            return
        if not self._instructions or self._instructions[-1]["prompt"] != frame.words:
            self._instructions.append({"prompt": frame.words, "frame": frame.index})
        self._frames.put(frame)

    def finish(self) -> None:
        """No more frames come."""
        self._frames.put(None)

    def run(self) -> None:
        """Encode until `finish`."""
        part = self.path.with_name(self.path.name + PART_SUFFIX)
        try:
            self._encode(part)
            if self.num_frames:
                copy_with_metadata(part, self.path, self._provenance())
        except (OSError, ValueError, FFmpegError) as error:
            self.error = error
        finally:
            part.unlink(missing_ok=True)

    def _encode(self, part: Path) -> None:
        frame = self._frames.get()
        if frame is None:
            return
        height, width = frame.pixels.shape[:2]
        with av.open(str(part), "w", format="mp4") as output:
            stream = output.add_stream("libx264", rate=round(self._settings.native_fps))
            stream.width, stream.height = width - width % 2, height - height % 2
            stream.pix_fmt = "yuv420p"
            stream.time_base = Fraction(1, TICKS_PER_S)
            stream.codec_context.time_base = stream.time_base
            stream.options = {"preset": "veryfast", "crf": "20", "bf": "0", "tune": "zerolatency"}
            stream.codec_context.thread_count = 1
            while frame is not None:
                if frame.pixels.shape[:2] == (height, width):
                    output.mux(stream.encode(self._video_frame(frame, stream.width, stream.height)))
                    self.num_frames += 1
                frame = self._frames.get()
            output.mux(stream.encode(None))

    def _video_frame(self, frame: ShownFrame, width: int, height: int) -> av.VideoFrame:
        # shown times: a rewind or a pause leaves no hole and no step back
        if self._first_s is None:
            self._first_s = frame.arrived_s
        ticks = max(self._last_ticks + 1, round((frame.arrived_s - self._first_s) * TICKS_PER_S))
        self._last_ticks = ticks
        pixels = frame.pixels[:height, :width]
        if self._settings.has_badge:
            pixels = with_badge(pixels)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        picture.pts = ticks
        picture.time_base = Fraction(1, TICKS_PER_S)
        return picture

    def _provenance(self) -> Mapping[str, str]:
        facts = {
            "generator": f"vivace {__version__}",
            "model": self._model,
            "source": "live video edited by a generative model",
            "instructions": self._instructions,
        }
        return {
            "title": "Edited with Vivace",
            "encoder": f"vivace {__version__}",
            "creation_time": self._began.isoformat(),
            "comment": json.dumps(facts),
        }


@dataclass(slots=True, eq=False)
class _Running:
    writer: _Writer
    timer: asyncio.TimerHandle


@dataclass(slots=True, eq=False)
class Recordings:
    """All recordings of a server: those under way, and the finished ones by their secret names."""

    settings: ServerSettings
    model: str
    _running: dict[Hub, _Running] = field(default_factory=dict)
    _finished: dict[str, Path] = field(default_factory=dict)

    def start(self, hub: Hub) -> None:
        """Record a session from the next frame on.

        Raises:
            ProtocolError: If recordings are off or one is under way.
        """
        folder = self.settings.recordings
        if folder is None:
            raise ProtocolError("not_possible", "this server keeps no recordings")
        if hub in self._running:
            raise ProtocolError("not_possible", "this session is being recorded already")
        writer = _Writer(
            folder / f"vivace-{datetime.now(UTC):%Y%m%d-%H%M%S}-{new_key()}.mp4", self.settings, self.model
        )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(
            hub.limits.recording_s, lambda: loop.create_task(self.stop(hub), name="recording limit")
        )
        self._running[hub] = _Running(writer, timer)
        hub.recorder = writer.put
        hub.is_recording = True
        writer.start()
        hub.tell(RecordingChanged(is_recording=True))

    async def stop(self, hub: Hub) -> str | None:
        """Finish the recording of a session; the name under which it is fetched, None if it has no frame.

        Raises:
            ProtocolError: If the file could not be written.
        """
        running = self._running.pop(hub, None)
        if running is None:
            return None
        running.timer.cancel()
        hub.recorder = None
        hub.is_recording = False
        writer = running.writer
        writer.finish()
        await asyncio.to_thread(writer.join)
        if writer.error is not None:
            hub.tell(RecordingChanged(is_recording=False))
            raise ProtocolError("not_possible", f"the recording could not be written: {writer.error}")
        name = new_key() if writer.num_frames else None
        if name is not None:
            self._finished[name] = writer.path
            self._forget_old()
        hub.tell(RecordingChanged(is_recording=False, recording=name))
        return name

    def find(self, name: str) -> Path | None:
        """The file of a finished recording; only names that were given out are known."""
        path = self._finished.get(name)
        return path if path is not None and path.is_file() else None

    def _forget_old(self) -> None:
        while len(self._finished) > self.settings.limits.num_recordings:
            oldest = next(iter(self._finished))
            self._finished.pop(oldest).unlink(missing_ok=True)


def with_badge(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
    """A copy with a small mark in the lower right corner."""
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((0, 0), BADGE)
    width, height = round(right - left) + 8, round(bottom - top) + 6
    corner = image.width - width - 4, image.height - height - 4
    pen.rectangle((*corner, corner[0] + width, corner[1] + height), fill=(20, 23, 26))
    pen.text((corner[0] + 4 - left, corner[1] + 3 - top), BADGE, fill=(230, 233, 236))
    return np.asarray(image)


def copy_with_metadata(part: Path, finished: Path, metadata: Mapping[str, str]) -> None:
    """Rewrite a file with its index in front and with tags, which are known only at the end."""
    with (
        av.open(str(part)) as source,
        av.open(str(finished), "w", format="mp4", container_options={"movflags": "faststart"}) as output,
    ):
        output.metadata.update(metadata)
        (video,) = source.streams.video
        copy = output.add_stream_from_template(video, opaque=True)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
