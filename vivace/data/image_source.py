"""Reads a folder of images, or one still or animated image, as timed RGB frames."""

from collections.abc import Generator, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from vivace.core.errors import InputError
from vivace.data.audio_track import AudioPacket
from vivace.data.frame_pixels import over_black
from vivace.data.frame_timing import TimedFrame
from vivace.data.source_spec import SourceSpec
from vivace.data.video_info import VideoInfo

WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
Picture = tuple[UInt8[np.ndarray, "h w c"], Fraction]


class ImageSource:
    """Frames of images in natural order; see `VideoSource` in video_source.py for the contract.

    All frames have the size of the first; images of another size are scaled to it. Camera orientation (EXIF)
    is applied, alpha is composited over black. An image that cannot be read leaves the picture before it
    standing and counts as damage.
    """

    def __init__(
        self, spec: SourceSpec, *, start_s: Fraction, duration_s: Fraction | None, fps: Fraction
    ) -> None:
        self.path: Path | None = spec.path
        self.was_truncated = False
        self.truncation_reason: str | None = None
        self.is_exhausted = False
        self.end_s = Fraction(0)
        self.metadata: Mapping[str, str] = {}
        self.audio_streams: tuple[av.AudioStream, ...] = ()
        self.audio_starts_s: tuple[Fraction | None, ...] = ()
        self._images = spec.images
        self._fps = fps
        self._num_unreadable = 0
        self._size_px: tuple[int, int] | None = None
        self._frames = self._timed_frames(start_s, duration_s)
        self._first: TimedFrame | None = next(self._frames, None)
        if self._first is None:
            if self._size_px is None:
                raise InputError(f"{spec.name} holds no image that can be decoded; expected pictures")
            raise InputError(f"got a start of {float(start_s):g} s, which lies behind the end of {spec.name}")
        is_animated = len(self._images) == 1 and self._first.duration_s != 1 / fps
        self.time_base = Fraction(1, 1000) if is_animated else 1 / fps
        height_px, width_px = self._first.pixels.shape[:2]
        num_frames = None if is_animated else len(self._images)
        self.info = VideoInfo(
            width_px=width_px,
            height_px=height_px,
            fps=1 / self._first.duration_s,
            is_variable_rate=None if is_animated else False,
            duration_s=None if num_frames is None else num_frames / fps,
            num_frames=num_frames,
            rotation_deg=0,
            codec=self._images[0].suffix.lstrip(".").lower(),
            pixel_format="rgb24",
            container="images",
            audio=(),
        )

    def __iter__(self) -> Iterator[TimedFrame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def take_audio(self) -> list[AudioPacket]:
        """Images are silent."""
        return []

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _timed_frames(self, start_s: Fraction, duration_s: Fraction | None) -> Generator[TimedFrame]:
        end_s = None if duration_s is None else start_s + duration_s
        time_s, zero_s = Fraction(0), None
        for pixels, lasts_s in self._pictures():
            if time_s >= start_s and (end_s is None or time_s < end_s):
                zero_s = time_s if zero_s is None else zero_s
                frame = TimedFrame(pixels=pixels, time_s=time_s - zero_s, duration_s=lasts_s)
                self.end_s = frame.end_s
                yield frame
            time_s += lasts_s
            if end_s is not None and time_s >= end_s:
                break
        if self._num_unreadable:
            self.was_truncated = True
            self.truncation_reason = f"{self._num_unreadable} of {len(self._images)} images could not be read"
        self.is_exhausted = True

    def _pictures(self) -> Iterator[Picture]:
        before: Picture | None = None
        for path in self._images:
            try:
                for picture in self._pictures_of(path):
                    before = picture
                    yield picture
            except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
                self._num_unreadable += 1
                if before is not None:
                    yield before

    def _pictures_of(self, path: Path) -> Iterator[Picture]:
        with Image.open(path) as image:
            # Pages of a TIFF are not a film; the frames of one animated WebP or PNG are.
            is_animation = len(self._images) == 1 and image.format in ("WEBP", "PNG")
            for index in range(getattr(image, "n_frames", 1) if is_animation else 1):
                image.seek(index)
                pixels = self._rgb(image)
                milliseconds = image.info.get("duration", 0) if is_animation else 0
                yield pixels, Fraction(milliseconds) / 1000 if milliseconds else 1 / self._fps

    def _rgb(self, image: Image.Image) -> UInt8[np.ndarray, "h w c"]:
        turned = ImageOps.exif_transpose(image)
        if turned.mode in WIDE_MODES:
            # Pillow clips 16-bit gray instead of scaling it.
            turned = Image.fromarray(
                (np.asarray(turned, dtype=np.float32) / 257).round().clip(0, 255).astype(np.uint8)
            )
        if turned.has_transparency_data:
            pixels = over_black(np.asarray(turned.convert("RGBA")))
        else:
            pixels = np.array(turned.convert("RGB"))
        height_px, width_px = pixels.shape[:2]
        self._size_px = self._size_px or (width_px, height_px)
        if self._size_px != (width_px, height_px):
            pixels = np.array(Image.fromarray(pixels).resize(self._size_px, Image.Resampling.BICUBIC))
        return pixels
