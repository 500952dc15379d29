"""Opens any output for timed RGB frames: video files, image sequences, network streams."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from vivace.core.errors import InputError
from vivace.data.frame_timing import TimedFrame
from vivace.data.image_sink import ImageSink
from vivace.data.media_sink import MediaSink
from vivace.data.output_format import parse_output
from vivace.data.sink_options import SinkOptions
from vivace.data.video_source import VideoSource

DEFAULT_TIME_BASE = Fraction(1, 90_000)


class VideoSink(Protocol):
    """An output that appears under its name only when it is complete; use it in a `with` statement.

    Leaving the block normally or by Ctrl-C finishes the output, any other exception removes it.
    `padding_px` (right, bottom) is what was added because the codec needs even sizes.
    """

    num_frames: int
    padding_px: tuple[int, int]

    @property
    def audio_actions(self) -> tuple[str, ...]:
        """For each sound track of the source: "copied", "encoded as ..." or "left out"."""
        ...

    def write(self, frame: TimedFrame) -> None:
        """Append a frame; times must not decrease.

        Raises:
            InputError: If the disk is full, the output cannot be written or the frame has another size.
        """
        ...

    def close(self, *, finalise: bool = True) -> Path | None:
        """Finish what was written and give it its name; None if there was nothing or `finalise` is false.

        Raises:
            InputError: As `write`.
        """
        ...

    def abort(self) -> None:
        """Remove what was written; what was under the final name before stays."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_sink(
    name: str | Path,
    *,
    width_px: int,
    height_px: int,
    fps: Fraction | None = None,
    time_base: Fraction | None = None,
    options: SinkOptions | None = None,
    source: VideoSource | None = None,
    inputs: Sequence[Path] = (),
) -> VideoSink:
    """Open an output; nothing is created before all checks have passed.

    Args:
        name: `NAME.mp4` (mov, m4v, mkv, webm, avi, gif), `NAME.m3u8` for HLS, `NAME_%05d.png` or
            `FOLDER/`, or `rtmp://...`.
        width_px: Width of the frames.
        height_px: Height of the frames.
        fps: Average frame rate, a hint for the encoder; AVI has this rate exactly. By default the source's.
        time_base: Clock on which the frames' times are exact; by default the source's.
        options: Codec, quality and the like.
        source: The input whose sound and tags are carried over; open it with `has_audio` and close it last.
        inputs: Files that must not be overwritten, besides the source.

    Raises:
        InputError: If the ending or codec is unknown, the folder is missing or not writable, or the output is
            an input.
    """
    if width_px < 1 or height_px < 1:
        raise InputError(f"got an output size of {width_px}x{height_px}, expected at least 1x1")
    wanted = options or SinkOptions()
    form = parse_output(name, wanted.codec)
    kept = tuple(inputs) if source is None or source.path is None else (*inputs, source.path)
    if form.container is None or form.codec is None:
        return ImageSink(str(name), options=wanted, source=source, inputs=kept)
    rate = fps or (source.info.fps if source else Fraction(24))
    return MediaSink(
        str(name),
        width_px=width_px,
        height_px=height_px,
        fps=rate,
        time_base=time_base or (source.time_base if source else DEFAULT_TIME_BASE),
        container=form.container,
        codec=form.codec,
        options=wanted,
        source=source,
        inputs=kept,
    )
