"""What is known about a video without decoding all of it: size, rate, duration, codecs, sound tracks."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
from av.container import InputContainer
from av.stream import Stream

# Enough entries of an index to see whether frames come at a steady pace, few enough to stay instant.
MAX_INDEX_ENTRIES = 2000
FALLBACK_FPS = Fraction(24)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """One sound track; `language` is an ISO 639 code or None."""

    codec: str
    num_channels: int
    sample_rate_hz: int
    language: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoInfo:
    """A video as it is displayed.

    `width_px` and `height_px` are after rotation and pixel shape; `fps` is the average rate; `rotation_deg`
    is the clockwise turn the file asks for (0, 90, 180 or 270) and that reading applies. `duration_s` and
    `num_frames` are estimates from the header, None for a live source; `is_variable_rate` is None where only
    decoding would tell.
    """

    width_px: int
    height_px: int
    fps: Fraction
    is_variable_rate: bool | None
    duration_s: Fraction | None
    num_frames: int | None
    rotation_deg: int
    codec: str
    pixel_format: str
    container: str
    audio: tuple[AudioInfo, ...]


def describe_stream(
    container: InputContainer,
    stream: av.VideoStream,
    first: av.VideoFrame,
    size_px: tuple[int, int],
    *,
    is_live: bool,
) -> VideoInfo:
    """Collect what the headers say; `first` is the first decoded picture, `size_px` its displayed size."""
    fps = average_fps(stream)
    duration_s = None if is_live else _declared_duration(container, stream)
    num_frames = stream.frames or (round(duration_s * fps) if duration_s else None)
    return VideoInfo(
        width_px=size_px[0],
        height_px=size_px[1],
        fps=fps,
        is_variable_rate=_is_variable_rate(stream),
        duration_s=duration_s,
        num_frames=num_frames,
        # FFmpeg counts counter-clockwise.
        rotation_deg=round(-first.rotation / 90) * 90 % 360,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        container=container.format.name,
        audio=tuple(
            AudioInfo(
                codec=track.codec_context.codec.canonical_name,
                num_channels=track.codec_context.channels,
                sample_rate_hz=track.codec_context.sample_rate,
                language=None if track.language in (None, "und") else track.language,
            )
            for track in container.streams.audio
            if track.codec_context is not None
        ),
    )


def average_fps(stream: av.VideoStream) -> Fraction:
    """The average frame rate a stream declares; 24 if it declares none."""
    # Newer PyAV has a rational type of its own.
    return Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or FALLBACK_FPS)


def start_of(stream: Stream) -> Fraction | None:
    """When a track begins on the file's own clock; None if the header does not say."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return Fraction(stream.start_time * stream.time_base)


def declared_end(stream: Stream) -> Fraction | None:
    """When a track ends on the file's own clock; None if the header does not say."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    # Matroska stores it as a tag of the form hours:minutes:seconds.
    clock = stream.metadata.get("DURATION", "").split(":")
    if len(clock) != 3:
        return None
    hours, minutes, seconds = (Fraction(part) for part in clock)
    return hours * 3600 + minutes * 60 + seconds


def _declared_duration(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    end_s = declared_end(stream)
    if end_s is not None:
        return end_s - (start_of(stream) or 0)
    return Fraction(container.duration, av.time_base) if container.duration else None


def _is_variable_rate(stream: av.VideoStream) -> bool | None:
    entries = stream.index_entries[:MAX_INDEX_ENTRIES] if len(stream.index_entries) else []
    if len(entries) > 2 and stream.frames and len(stream.index_entries) == stream.frames:
        times = [entry.timestamp for entry in entries]
        steps = [later - earlier for earlier, later in pairwise(times)]
        return max(steps) - min(steps) > 1
    if stream.average_rate and stream.base_rate:
        return abs(Fraction(stream.base_rate) / Fraction(stream.average_rate) - 1) > Fraction(1, 100)
    return None
