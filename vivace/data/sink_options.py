"""The settings of a video output."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkOptions:
    """How to write a video.

    `codec` is a key of VIDEO_CODECS in output_format.py, None the container's default; `quality` is on the
    encoder's own scale, lower is better (CRF; for H.264 0..51), None the codec's default; `preset` trades
    size for speed in the x264 way; `num_threads` 0 lets the encoder choose.
    """

    codec: str | None = None
    quality: int | None = None
    preset: str = "veryfast"
    is_overwritten: bool = True
    num_threads: int = 0
