"""Cuts a range out of an FFmpeg input: timed RGB frames and the packets of sound that belong to them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from vivace.core.errors import InputError
from vivace.data.audio_track import AudioPacket, AudioQueue
from vivace.data.frame_pixels import ToRgb
from vivace.data.frame_timing import TimedFrame
from vivace.data.media_input import MediaInput, Shot
from vivace.data.source_spec import SourceSpec
from vivace.data.video_info import declared_end, describe_stream

# Key frames are found by decoding time, which may lie this much before the time of display.
SEEK_MARGIN_S = Fraction(1)
# How far to read on for the sound of a range whose pictures are complete.
MAX_INTERLEAVING_S = Fraction(5)
# How far to look for the first sound of every track.
MAX_LOOK_AHEAD_S = Fraction(3)
MAX_LIVE_LOOK_AHEAD_S = Fraction(1)


class MediaSource:
    """Frames of one FFmpeg input; see `VideoSource` in video_source.py for the contract."""

    def __init__(
        self,
        spec: SourceSpec,
        *,
        start_s: Fraction,
        duration_s: Fraction | None,
        timeout_s: float,
        has_audio: bool,
        max_audio_bytes: int | None = None,
        num_threads: int,
    ) -> None:
        self.path: Path | None = spec.path
        self.was_truncated = False
        self.truncation_reason: str | None = None
        self.is_exhausted = False
        self.end_s = Fraction(0)
        self._start_s = start_s
        self._duration_s = duration_s
        self._input = MediaInput(spec, timeout_s=timeout_s, num_threads=num_threads)
        origin_s = self._input.origin_s
        if origin_s is not None and start_s > SEEK_MARGIN_S and not self._input.is_live:
            target_s = origin_s + start_s
            if not self._input.seek(target_s - SEEK_MARGIN_S, target_s):
                self._input.container.close()
                self._input = MediaInput(spec, timeout_s=timeout_s, num_threads=num_threads)
        self.time_base = self._input.time_base
        self.metadata: Mapping[str, str] = dict(self._input.container.metadata)
        # A track that ends before the range would be an empty one.
        self.audio_streams: tuple[av.AudioStream, ...] = tuple(
            track
            for track in self._input.audio_streams
            if has_audio and not self._ends_before_range(declared_end(track))
        )
        self._audio = AudioQueue(self.audio_streams, max_audio_bytes)
        self._to_rgb = ToRgb(self._input.stream.sample_aspect_ratio)
        self._zero_s = Fraction(0)
        self._frames = self._timed_frames()
        try:
            first, picture = self._read_first()
        except BaseException:
            self.close()
            raise
        self._first: TimedFrame | None = first
        self.audio_starts_s = self._find_audio_starts()
        height_px, width_px = first.pixels.shape[:2]
        size_px = (width_px, height_px)
        self.info = describe_stream(
            self._input.container, self._input.stream, picture, size_px, is_live=self._input.is_live
        )

    def __iter__(self) -> Iterator[TimedFrame]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def take_audio(self) -> list[AudioPacket]:
        """Remove and return the sound read so far."""
        return self._audio.take(self._zero_s, is_cut=self._start_s > 0, duration_s=self._duration_s)

    def close(self) -> None:
        """Free the input; may be called twice."""
        self._input.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_first(self) -> tuple[TimedFrame, av.VideoFrame]:
        first, picture = next(self._frames, None), self._input.first_picture
        name = self._input.spec.name
        if first is not None and picture is not None:
            return first, picture
        if picture is None:
            reason = f" ({self.truncation_reason})" if self.truncation_reason else ""
            raise InputError(f"{name} has no picture that can be decoded{reason}; expected a video")
        length_s = self._input.reached_s - (self._input.origin_s or 0)
        raise InputError(
            f"got a start of {float(self._start_s):g} s, but {name} is only {float(length_s):.2f} s long"
        )

    def _ends_before_range(self, end_s: Fraction | None) -> bool:
        return end_s is not None and end_s <= (self._input.origin_s or 0) + self._start_s

    def _find_audio_starts(self) -> tuple[Fraction | None, ...]:
        # Headers are not to be trusted here, so the packets are looked at; most tracks begin at once.
        is_cut = self._start_s > 0
        latest_s = self._zero_s + (MAX_LIVE_LOOK_AHEAD_S if self._input.is_live else MAX_LOOK_AHEAD_S)

        def is_enough(packet: av.Packet) -> bool:
            if packet.dts is not None and packet.dts * packet.time_base > latest_s:
                return True
            return None not in self._audio.starts(self._zero_s, is_cut=is_cut)

        if None in self._audio.starts(self._zero_s, is_cut=is_cut):
            self._input.read_ahead(self._audio.put, is_enough)
        return self._audio.starts(self._zero_s, is_cut=is_cut)

    def _timed_frames(self) -> Iterator[TimedFrame]:
        # Durations are exact because each picture waits for the next; a live one cannot wait.
        waiting: Shot | None = None
        for shot in self._shots_in_range():
            if self._input.is_live:
                yield self._frame(shot, shot.duration_s)
                continue
            if waiting is not None:
                yield self._frame(waiting, shot.time_s - waiting.time_s)
            waiting = shot
        if waiting is not None:
            yield self._frame(waiting, self._last_duration(waiting))
        self.is_exhausted = True

    def _frame(self, shot: Shot, duration_s: Fraction) -> TimedFrame:
        pixels = self._to_rgb(shot.picture)
        frame = TimedFrame(pixels=pixels, time_s=shot.time_s - self._zero_s, duration_s=duration_s)
        self.end_s = frame.end_s
        return frame

    def _last_duration(self, last: Shot) -> Fraction:
        # Only the track's end tells how long the last picture stays where pictures are reordered or, as in
        # Matroska, have no duration of their own.
        duration_s, end_s = last.duration_s, declared_end(self._input.stream)
        if end_s is not None and end_s > last.time_s and not self.was_truncated:
            duration_s = end_s - last.time_s
        if self._duration_s is None:
            return duration_s
        return min(duration_s, self._zero_s + self._duration_s - last.time_s)

    def _shots_in_range(self) -> Iterator[Shot]:
        before: Shot | None = None
        has_begun = False
        for shot in self._input.decode(self._audio.put):
            target_s = (self._input.origin_s or 0) + self._start_s
            if shot.time_s < target_s:
                before = shot
                continue
            if not has_begun:
                has_begun = True
                # Normally the range begins with this picture. After a pause of more than a frame it begins
                # with the picture that stood still meanwhile, or, if there is none yet, with nothing.
                is_paused = shot.time_s - target_s > 1 / self._input.fps
                self._zero_s = target_s if is_paused or self._start_s == 0 else shot.time_s
                if before is not None and is_paused:
                    yield replace(before, time_s=target_s)
            if self._duration_s is not None and shot.time_s >= self._zero_s + self._duration_s:
                self._read_rest_of_audio(self._zero_s + self._duration_s)
                self._conclude(is_read_to_end=False)
                return
            yield shot
        self._conclude(is_read_to_end=True)
        target_s = (self._input.origin_s or 0) + self._start_s
        if before is not None and not has_begun and before.time_s + before.duration_s > target_s:
            self._zero_s = target_s
            rest_s = before.time_s + before.duration_s - target_s
            yield replace(before, time_s=target_s, duration_s=rest_s)

    def _read_rest_of_audio(self, end_s: Fraction) -> None:
        # Sound may be stored a little after the pictures it belongs to.
        for packet in self._input.packets():
            if self._audio.has_reached(end_s):
                return
            if packet.stream is not self._input.stream:
                self._audio.put(packet)
            elif packet.dts is not None and packet.dts * self.time_base > end_s + MAX_INTERLEAVING_S:
                return

    def _conclude(self, *, is_read_to_end: bool) -> None:
        self.truncation_reason = self._input.damage(is_read_to_end=is_read_to_end)
        self.was_truncated = self.truncation_reason is not None
