"""Encodes timed frames, with the sound of their source, into one file or network stream."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from vivace.core.errors import InputError
from vivace.data.audio_writer import AudioWriter
from vivace.data.frame_pixels import FromRgb
from vivace.data.frame_timing import TimedFrame
from vivace.data.output_format import Container, VideoCodec, is_address
from vivace.data.palette import to_palette
from vivace.data.part_file import PartFile, PlaylistFile, sentences
from vivace.data.remux import remux
from vivace.data.sink_options import SinkOptions
from vivace.data.video_source import VideoSource

# What is complete goes to the disk at once: it then survives a kill, and a full disk is noticed. A sound
# track that falls silent holds the others back for two seconds only.
FLUSHED = {"flush_packets": "1", "max_interleave_delta": "2000000"}
# The index is delayed to the first fragment, because only then can it hold the edit lists that keep times
# exact: without it FFmpeg moves the first picture to zero and everything by the sound encoder's priming.
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+delay_moov", "frag_duration": "1000000"}
# Every segment stays and the playlist is replaced in one step, so a player can come at any time.
PLAYLIST = {
    "hls_time": "2",
    "hls_list_size": "0",
    "hls_playlist_type": "event",
    "hls_flags": "temp_file+independent_segments",
}
MIN_TICKS_PER_S = 10_000
MAX_TICKS_PER_S = 2**31 - 1
# MPEG-4 part 2 counts time in 16 bits; this clock holds 24, 25, 30, 50, 60 and 29.97 fps.
MPEG4_TIME_BASE = Fraction(1, 60_000)
DROPPED_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")
COLOR_BT709 = 1


class MediaSink:
    """One FFmpeg output; see `VideoSink` in video_sink.py for the contract."""

    def __init__(
        self,
        name: str,
        *,
        width_px: int,
        height_px: int,
        fps: Fraction,
        time_base: Fraction,
        container: Container,
        codec: VideoCodec,
        options: SinkOptions,
        source: VideoSource | None,
        inputs: tuple[Path, ...],
    ) -> None:
        self.num_frames = 0
        self.padding_px = (-width_px % codec.size_multiple, -height_px % codec.size_multiple)
        self._name = name
        self._container = container
        self._source = source
        self._size_px = (width_px, height_px)
        self._fps = fps
        self._time_base = _time_base(container, codec, fps, time_base)
        self._durations: dict[int, int] = {}
        self._last_tick = -1
        self._end_s = Fraction(0)
        self._is_open = True
        self._file = None
        self._pace = Pace() if is_address(name) else None
        if not is_address(name):
            make = PlaylistFile if container.is_playlist else PartFile
            self._file = make(Path(name), inputs=inputs, is_overwritten=options.is_overwritten)
        width_px, height_px = width_px + self.padding_px[0], height_px + self.padding_px[1]
        self._convert = _converter(codec, width_px, height_px)
        with sentences(name):
            self._output = av.open(
                f"file:{self._file.part}" if self._file else name,
                "w",
                format=container.ffmpeg_format,
                container_options=_container_options(container, self._file),
            )
            self._stream = self._add_stream(codec, width_px, height_px, options)
            self._audio = None if source is None else AudioWriter(self._output, container, source)
            tags = source.metadata if source is not None else {}
            self._output.metadata.update(_kept_tags(tags))
            try:
                self._output.start_encoding()
            except BaseException:
                self.abort()
                raise

    @property
    def audio_actions(self) -> tuple[str, ...]:
        """What happens to each sound track: "copied", "encoded as ..." or "left out"."""
        return self._audio.actions if self._audio else ()

    def write(self, frame: TimedFrame) -> None:
        """Encode one frame at its own time, and the sound that goes with it."""
        width_px, height_px = self._size_px
        if frame.pixels.shape != (height_px, width_px, 3):
            raise InputError(
                f"got a frame of shape {frame.pixels.shape}, expected {(height_px, width_px, 3)}"
            )
        if self._pace is not None:
            self._pace.wait(float(frame.time_s))
        # Coarse clocks can put two frames on one tick; the later one then moves on.
        tick = max(round(frame.time_s / self._time_base), self._last_tick + 1)
        picture = self._convert(self._padded(frame.pixels))
        picture.pts, picture.time_base = tick, self._time_base
        self._durations[tick] = max(1, round(frame.end_s / self._time_base) - tick)
        self._last_tick = tick
        self._end_s = max(self._end_s, frame.end_s)
        try:
            with sentences(self._name, self._remains()):
                self._mux(self._stream.encode(picture))
                if self._audio:
                    self._audio.write_until(frame.end_s)
        except InputError:
            self._give_up()
            raise
        self.num_frames += 1

    def close(self, *, finalise: bool = True) -> Path | None:
        """Finish the output and give it its name; None if nothing was written or `finalise` is false."""
        if not self._is_open:
            return None
        if not finalise or not self.num_frames:
            self.abort()
            return None
        try:
            with sentences(self._name, self._remains()):
                self._mux(self._stream.encode(None))
                if self._audio:
                    self._audio.write_until(None if self._is_everything_written() else self._end_s)
                    self._audio.finish()
                self._output.close()
                self._is_open = False
                if self._file is None:
                    return None
                written = self._file.part
                if self._container.is_fragmented:
                    written = self._file.finished
                    remux(self._file.part, written, self._container.ffmpeg_format)
        except InputError:
            self._give_up()
            raise
        return self._file.commit(written)

    def abort(self) -> None:
        """Stop and remove what was written; nothing appears under the final name."""
        if self._is_open:
            self._is_open = False
            with suppress(FFmpegError, OSError):
                self._output.close()
            if self._file:
                self._file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abort()

    def _add_stream(
        self, codec: VideoCodec, width_px: int, height_px: int, options: SinkOptions
    ) -> av.VideoStream:
        encoder_options = codec.encoder_options(options.quality, options.preset, self._fps)
        if self._container.is_playlist:
            # segments end at key frames; one at every cut of the scene would make them uneven
            encoder_options["sc_threshold"] = "0"
        stream = self._output.add_stream(
            codec.encoder, rate=self._fps.limit_denominator(100_000), options=encoder_options
        )
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height = width_px, height_px
        context.pix_fmt = codec.pixel_format
        context.time_base = self._time_base
        context.thread_count = options.num_threads
        context.color_range = codec.color_range
        if codec.has_color_tags and codec.pixel_format.startswith("yuv"):
            context.colorspace = context.color_primaries = context.color_trc = COLOR_BT709
        if codec.tag and self._container.is_fragmented:
            context.codec_tag = codec.tag
        return stream

    def _padded(self, pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w c"]:
        right_px, bottom_px = self.padding_px
        if not right_px and not bottom_px:
            return pixels
        return np.pad(pixels, ((0, bottom_px), (0, right_px), (0, 0)), mode="edge")

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            # Encoders guess durations from the rate, but nothing corrects the last one's.
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration)
            self._output.mux(packet)

    def _is_everything_written(self) -> bool:
        # After an interruption pictures are missing at the end, and the sound must stop with the last one.
        if self._source is None or not self._source.is_exhausted:
            return False
        return self._end_s + 2 / self._fps >= self._source.end_s

    def _remains(self) -> str:
        if self._file is None or not self._container.is_fragmented or not self.num_frames:
            return ""
        return f"; what was written until then plays from {self._file.part}"

    def _give_up(self) -> None:
        # A fragmented file is worth keeping when the disk is full; others may not play.
        self._is_open = False
        with suppress(FFmpegError, OSError):
            self._output.close()
        if self._file and not self._remains():
            self._file.discard()
        elif self._file:
            self._file.finished.unlink(missing_ok=True)


class Pace:
    """Holds frames back to their own time: live servers take them at the speed they are watched at."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, sleep: Callable[[float], object] = sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._zero_s: float | None = None

    def wait(self, time_s: float) -> None:
        """Return when the frame of that time is due; one that comes late moves those after it."""
        now_s = self._clock()
        if self._zero_s is None or now_s - self._zero_s > time_s:
            self._zero_s = now_s - time_s
        self._sleep(time_s - (now_s - self._zero_s))


def _container_options(container: Container, file: PartFile | PlaylistFile | None) -> dict[str, str]:
    if isinstance(file, PlaylistFile):
        return {**PLAYLIST, "hls_segment_filename": file.segments}
    return FLUSHED | (FRAGMENTED if container.is_fragmented else {})


def _converter(
    codec: VideoCodec, width_px: int, height_px: int
) -> Callable[[UInt8[np.ndarray, "h w c"]], av.VideoFrame]:
    if codec.pixel_format == "pal8":
        return to_palette
    return FromRgb(codec.pixel_format, codec.matrix(width_px, height_px), codec.color_range)


def _time_base(container: Container, codec: VideoCodec, fps: Fraction, wanted: Fraction) -> Fraction:
    if container.ticks_per_s:
        return Fraction(1, container.ticks_per_s)
    if container.has_constant_rate:
        return 1 / fps
    if codec.encoder == "mpeg4":
        return MPEG4_TIME_BASE
    # A multiple of the wanted clock: its times stay exact and those between are rounded finely.
    ticks_per_s = wanted.denominator * -(-MIN_TICKS_PER_S // wanted.denominator)
    return Fraction(1, min(ticks_per_s, MAX_TICKS_PER_S))


def _kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key.lower() not in DROPPED_TAGS}
