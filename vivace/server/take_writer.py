"""Encodes one recording, picture and sound, as an MP4 that says how it was made; knows no session."""

import json
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from vivace import __version__
from vivace.server.faces import Signer
from vivace.server.outlet import ShownFrame
from vivace.server.settings import ServerSettings
from vivace.server.sound import NUM_CHANNELS, RATE_HZ, Samples, SoundBlock

TICKS_PER_S = 90_000
SOUND_BITS_PER_S = 128_000
# Frames and blocks of sound that wait; a recording loses some rather than holding up the stream.
MAX_WAITING = 192
# Blocks of sound follow each other without a seam unless they are further off than this.
SEAM = RATE_HZ // 50
BADGE = "AI edited"
# the signer knows files by their ending
PART_SUFFIX, UNSIGNED_SUFFIX = ".part", ".unsigned.mp4"


class TakeWriter(threading.Thread):
    """Encodes the frames of one recording; writes to a part file and gives it its name at the end."""

    def __init__(
        self, path: Path, settings: ServerSettings, model: str, signer: Signer | None, *, has_sound: bool
    ) -> None:
        super().__init__(name="recording", daemon=True)
        self.path = path
        self.num_frames = 0
        self.num_lost = 0
        self.error: Exception | None = None
        self._settings = settings
        self._model = model
        self._signer = signer
        self._has_sound = has_sound
        self._waiting: queue.Queue[ShownFrame | SoundBlock | None] = queue.Queue()
        self._first_s: float | None = None
        self._last_ticks = -1
        self._instructions: list[dict[str, object]] = []
        self._began = datetime.now(UTC)

    def put(self, frame: ShownFrame) -> None:
        """Queue a frame; called from the event loop."""
        if self._waiting.qsize() >= MAX_WAITING:
            self.num_lost += 1
            return
        if not self._instructions or self._instructions[-1]["prompt"] != frame.words:
            self._instructions.append({"prompt": frame.words, "frame": frame.index})
        self._waiting.put(frame)

    def put_sound(self, block: SoundBlock) -> None:
        """Queue 20 ms of sound; called from the event loop. What lies before the first frame is left out."""
        if self._has_sound and self._waiting.qsize() < MAX_WAITING:
            self._waiting.put(block)

    def finish(self) -> None:
        """Nothing more comes."""
        self._waiting.put(None)

    def run(self) -> None:
        """Encode until `finish`."""
        part = self.path.with_name(self.path.name + PART_SUFFIX)
        unsigned = self.path.with_name(self.path.name + UNSIGNED_SUFFIX)
        try:
            self._encode(part)
            if self.num_frames:
                copy_with_metadata(part, unsigned, self._provenance())
                if self._signer is None:
                    unsigned.replace(self.path)
                else:
                    self._signer.sign(unsigned, self.path, self._model, self._instructions)
        # a thread's error is told by whoever waits for it; encoders and signers fail in many ways
        except Exception as error:
            self.error = error
        finally:
            part.unlink(missing_ok=True)
            unsigned.unlink(missing_ok=True)

    def _encode(self, part: Path) -> None:
        frame = self._waiting.get()
        while isinstance(frame, SoundBlock):
            frame = self._waiting.get()
        if frame is None:
            return
        with av.open(str(part), "w", format="mp4") as output:
            picture = self._add_picture(output, frame)
            sound = _SoundWriter(output, frame.arrived_s) if self._has_sound else None
            size = frame.pixels.shape
            item: ShownFrame | SoundBlock | None = frame
            while item is not None:
                if isinstance(item, ShownFrame):
                    # a recording has one size; a source that changed it in the middle is left out
                    if item.pixels.shape == size:
                        shown = self._video_frame(item, picture.width, picture.height)
                        output.mux(picture.encode(shown))
                        self.num_frames += 1
                elif sound is not None:
                    sound.write(item)
                item = self._waiting.get()
            output.mux(picture.encode(None))
            if sound is not None:
                sound.finish()

    def _add_picture(self, output: OutputContainer, frame: ShownFrame) -> av.VideoStream:
        height, width = frame.pixels.shape[:2]
        stream = output.add_stream("libx264", rate=round(self._settings.native_fps))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width - width % 2, height - height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, TICKS_PER_S)
        stream.codec_context.time_base = stream.time_base
        stream.options = {"preset": "veryfast", "crf": "20", "bf": "0", "tune": "zerolatency"}
        stream.codec_context.thread_count = 1
        return stream

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


class _SoundWriter:
    """The sound track of a recording: both tracks count from the arrival of the first frame."""

    def __init__(self, output: OutputContainer, zero_s: float) -> None:
        self._output = output
        self._zero_s = zero_s
        self._next = 0
        self._stream = output.add_stream("aac", rate=RATE_HZ)
        assert isinstance(self._stream, av.AudioStream)
        self._stream.codec_context.layout = "stereo"
        self._stream.codec_context.bit_rate = SOUND_BITS_PER_S

    def write(self, block: SoundBlock) -> None:
        """Encode a block at its place; a hole becomes silence, what is there already is left out."""
        start, samples = round((block.arrived_s - self._zero_s) * RATE_HZ), block.samples
        if abs(start - self._next) <= SEAM:
            start = self._next
        if start < self._next:
            samples, start = samples[self._next - start :], self._next
        # a hole of minutes is not built in one piece
        while self._next < start:
            self._append(np.zeros((min(RATE_HZ, start - self._next), NUM_CHANNELS), np.int16))
        if len(samples):
            self._append(samples)

    def finish(self) -> None:
        """Write what the encoder holds."""
        self._output.mux(self._stream.encode(None))

    def _append(self, samples: Samples) -> None:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples).reshape(1, -1), format="s16", layout="stereo"
        )
        frame.sample_rate = RATE_HZ
        frame.pts, frame.time_base = self._next, Fraction(1, RATE_HZ)
        self._next += len(samples)
        self._output.mux(self._stream.encode(frame))


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
        copies = {one.index: output.add_stream_from_template(one, opaque=True) for one in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
