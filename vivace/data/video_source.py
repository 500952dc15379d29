"""Opens any input as a stream of timed RGB frames: files, image folders, cameras, network addresses."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import av

from vivace.core.errors import InputError
from vivace.data.audio_track import AudioPacket
from vivace.data.frame_timing import TimedFrame, exact_seconds
from vivace.data.image_source import ImageSource
from vivace.data.media_source import MediaSource
from vivace.data.source_spec import parse_source
from vivace.data.video_info import VideoInfo


class VideoSource(Protocol):
    """Frames of one input, read once and in order; use it in a `with` statement.

    `time_base` is the finest tick of its timestamps, `metadata` the container's tags, `path` the file or
    folder if it is one. After the last frame `was_truncated` says whether the input ended early or was
    damaged and `truncation_reason` says how, and `is_exhausted` is true; `end_s` is where the frame that was
    read last ends. `audio_streams` are FFmpeg's descriptions of the sound tracks whose packets `take_audio`
    returns, valid until the source is closed; `audio_starts_s` is when each begins, None if none
    of it was found near the start.
    """

    info: VideoInfo
    time_base: Fraction
    metadata: Mapping[str, str]
    path: Path | None
    was_truncated: bool
    truncation_reason: str | None
    is_exhausted: bool
    end_s: Fraction
    audio_streams: tuple[av.AudioStream, ...]
    audio_starts_s: tuple[Fraction | None, ...]

    def __iter__(self) -> Iterator[TimedFrame]: ...

    def take_audio(self) -> list[AudioPacket]:
        """Remove and return the sound read so far; empty unless opened with `has_audio`."""
        ...

    def close(self) -> None:
        """Free the input; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(
    spec: str | Path,
    *,
    start_s: float | Fraction = 0.0,
    duration_s: float | Fraction | None = None,
    image_fps: float | Fraction = 24,
    timeout_s: float = 10.0,
    has_audio: bool = False,
    max_audio_bytes: int | None = None,
    num_threads: int = 0,
) -> VideoSource:
    """Open an input and decode its first frame.

    Args:
        spec: A file, a folder of images, `camera:0`, `/dev/video0` or a URL.
        start_s: Where to begin, in seconds from the start; the first frame is the first one at or after it.
        duration_s: How much to read; None is all.
        image_fps: Frame rate given to a folder of images.
        timeout_s: How long a camera or a network address may be silent.
        has_audio: Keep the packets of sound tracks for `take_audio`, which must then be called regularly.
        max_audio_bytes: Of sound that nobody takes the newest so many bytes are kept; None keeps all, as is
            right where pictures may stand for long, but not where a stranger sends.
        num_threads: Decoding threads; 0 lets FFmpeg choose.

    Raises:
        InputError: If the input is missing, is not a video, has no decodable frame in the range, does not
            answer in time, or the range is negative or lies behind the end.
    """
    start, duration = _time_range(start_s, duration_s)
    found = parse_source(spec)
    if found.kind == "images":
        rate = exact_seconds(image_fps)
        if rate <= 0:
            raise InputError(f"got {float(image_fps):g} frames per second for images, expected more than 0")
        return ImageSource(found, start_s=start, duration_s=duration, fps=rate)
    return MediaSource(
        found,
        start_s=start,
        duration_s=duration,
        timeout_s=timeout_s,
        has_audio=has_audio,
        max_audio_bytes=max_audio_bytes,
        num_threads=num_threads,
    )


def probe(spec: str | Path, *, timeout_s: float = 10.0) -> VideoInfo:
    """What a video is; decodes its first frame only.

    Raises:
        InputError: As `open_source`.
    """
    with open_source(spec, timeout_s=timeout_s) as source:
        return source.info


def _time_range(
    start_s: float | Fraction, duration_s: float | Fraction | None
) -> tuple[Fraction, Fraction | None]:
    if not 0 <= start_s < float("inf"):
        raise InputError(f"got a start of {float(start_s):g} s, expected 0 or more")
    if duration_s is None:
        return exact_seconds(start_s), None
    if not 0 < duration_s < float("inf"):
        raise InputError(f"got a duration of {float(duration_s):g} s, expected more than 0")
    return exact_seconds(start_s), exact_seconds(duration_s)
