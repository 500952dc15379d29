"""An opened FFmpeg input: its packets, its decoded pictures with repaired times, and what was damaged."""

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from time import monotonic
from typing import cast

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError
from av.stream import Disposition

from vivace.core.errors import InputError
from vivace.data.file_end import num_missing_bytes
from vivace.data.frame_timing import SteadyTimes
from vivace.data.source_spec import SourceSpec
from vivace.data.video_info import average_fps, start_of

# Text files that FFmpeg would draw as pictures; nobody means that.
TEXT_CODECS = ("ansi", "bintext", "xbin", "idf")
# How long a sender is waited for, and how long one connection may take to begin sending. Between two waits
# Python can act on Ctrl-C; a sender that comes just then is turned away once and tries again.
LISTEN_S, LISTEN_TURN_S = 600.0, 20.0
# Sound that starts earlier than the pictures by no more than this is a codec's start-up, not a late picture.
MAX_PRIMING_S = Fraction(1, 20)


@dataclass(frozen=True, slots=True)
class Shot:
    """A decoded picture on the file's own clock."""

    picture: av.VideoFrame
    time_s: Fraction
    duration_s: Fraction


class MediaInput:
    """Packets and pictures of one input, read once and in order.

    `origin_s` is where the file's own clock starts, None until the first picture if the header does not
    say; `reached_s` is the end of the last picture, `first_picture` the first one decoded. A live input is a
    camera or an address without a length.

    Raises:
        InputError: If it cannot be opened or holds no pictures.
    """

    def __init__(self, spec: SourceSpec, *, timeout_s: float, num_threads: int) -> None:
        self.spec = spec
        self._timeout_s = timeout_s
        self.container = _open(spec, timeout_s)
        try:
            self.stream = _picture_stream(self.container, spec.name)
        except InputError:
            self.container.close()
            raise
        self.fps = average_fps(self.stream)
        self.time_base = Fraction(self.stream.time_base or Fraction(1, 90_000))
        self.is_live = spec.kind == "camera" or (spec.kind == "url" and not self.container.duration)
        # A track whose header was never completed has no rate and cannot be written anywhere.
        self.audio_streams = tuple(
            track
            for track in self.container.streams.audio
            if track.codec_context is not None and track.codec_context.sample_rate
        )
        self.origin_s = self._origin()
        self.reached_s = Fraction(0)
        self.first_picture: av.VideoFrame | None = None
        self._num_damaged = 0
        self._error: str | None = None
        self._decoder = _decoder_of(self.stream)
        # Decoding several pictures at once holds them back, which a live input cannot afford.
        self._decoder.thread_type = "SLICE" if self.is_live else "AUTO"
        self._decoder.thread_count = num_threads
        self._ahead: deque[av.Packet] = deque()
        self._demuxed = self._demux()

    def _origin(self) -> Fraction | None:
        start_s = start_of(self.stream)
        if start_s is None:
            return None
        starts = [start_of(track) for track in self.audio_streams]
        return min([start_s, *(s for s in starts if s is not None and s < start_s - MAX_PRIMING_S)])

    def seek(self, goal_s: Fraction, latest_s: Fraction) -> bool:
        """Go to a key frame before `goal_s`; False if it cannot be done, the input is then to be reopened.

        Args:
            goal_s: Time on the file's own clock.
            latest_s: Landing behind this time counts as a failure.
        """
        offset = int(goal_s / self.time_base)
        try:
            self.container.seek(offset, stream=self.stream)
            landed = next((packet for packet in self._demuxed if packet.stream is self.stream), None)
            self._demuxed.close()
            if landed is None or landed.pts is None or landed.pts * self.time_base > latest_s:
                return False
            self.container.seek(offset, stream=self.stream)
        except FFmpegError:
            return False
        self._demuxed = self._demux()
        return True

    def packets(self) -> Iterator[av.Packet]:
        """Packets of all tracks in the order of the file, each once, whoever asks."""
        while True:
            packet = self._ahead.popleft() if self._ahead else next(self._demuxed, None)
            if packet is None:
                return
            yield packet

    def read_ahead(
        self, put_audio: Callable[[av.Packet], None], is_enough: Callable[[av.Packet], bool]
    ) -> None:
        """Hand out packets of other tracks before their turn, until `is_enough` of the latest packet."""
        for packet in self._demuxed:
            if packet.stream is self.stream:
                self._ahead.append(packet)
            else:
                put_audio(packet)
            if is_enough(packet):
                return

    def decode(self, put_audio: Callable[[av.Packet], None]) -> Iterator[Shot]:
        """All pictures; other tracks' packets go to `put_audio` on the way. Damage is counted and skipped."""
        clock = SteadyTimes(self.origin_s or Fraction(0))
        for packet in self.packets():
            if packet.stream is not self.stream:
                put_audio(packet)
                continue
            for picture in self._pictures(packet):
                yield self._shot(picture, clock)
        for picture in self._pictures(None):
            yield self._shot(picture, clock)

    def damage(self, *, is_read_to_end: bool) -> str | None:
        """Why the pictures that were read may be fewer than there should be; None if all is well."""
        reasons = [self._error] if self._error else []
        if is_read_to_end and not reasons and self.spec.kind == "camera":
            reasons.append(f"{self.spec.name} stopped sending")
        if is_read_to_end and self.spec.kind == "file" and self.spec.path:
            num_missing = num_missing_bytes(self.spec.path)
            if num_missing:
                reasons.append(f"the file ends {num_missing} bytes before the end that its header promises")
        if self._num_damaged and not self.is_live:
            reasons.append(f"{self._num_damaged} damaged packets or pictures")
        return "; ".join(reasons) or None

    def _demux(self) -> Generator[av.Packet]:
        try:
            for packet in self.container.demux():
                if not packet.size:
                    continue
                self._num_damaged += packet.is_corrupt
                yield packet
        except (FFmpegError, OSError) as error:
            if self.spec.is_listening and error.errno == errno.EIO:
                # how FFmpeg puts it that the sender has left
                return
            self._error = _reading_sentence(self.spec, error, self._timeout_s)

    def _pictures(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except FFmpegError:
            self._num_damaged += 1
            return []

    def _shot(self, picture: av.VideoFrame, clock: SteadyTimes) -> Shot:
        time_base = picture.time_base or self.time_base
        duration_s = picture.duration * time_base if picture.duration else 1 / self.fps
        claimed = picture.pts if picture.pts is not None else picture.dts
        time_s = clock.repair(None if claimed is None else claimed * time_base, duration_s)
        if self.first_picture is None:
            self.first_picture = picture
            self.origin_s = time_s if self.origin_s is None else self.origin_s
        self._num_damaged += picture.is_corrupt
        self.reached_s = time_s + duration_s
        return Shot(picture, time_s, duration_s)


def _open(spec: SourceSpec, timeout_s: float) -> InputContainer:
    if not spec.is_listening:
        return _open_once(spec, None if spec.kind == "file" else timeout_s, timeout_s)
    end_s = monotonic() + LISTEN_S
    while True:
        try:
            return _open_once(spec, (LISTEN_TURN_S, timeout_s), LISTEN_S)
        except InputError as error:
            if not isinstance(error.__cause__, (ExitError, TimeoutError)) or monotonic() > end_s:
                raise


def _open_once(
    spec: SourceSpec, timeout: float | tuple[float, float] | None, timeout_s: float
) -> InputContainer:
    """Open it; `timeout` is PyAV's, `timeout_s` what a sentence may name."""
    name, ffmpeg_format, options = spec.target, spec.ffmpeg_format, dict(spec.options)
    try:
        try:
            return av.open(name, format=ffmpeg_format, options=options, timeout=timeout)
        except UnicodeDecodeError:
            # PyAV before 19 stumbles over tags that are not UTF-8 unless told not to; 19 never does.
            return av.open(
                name, format=ffmpeg_format, options=options, timeout=timeout, metadata_errors="replace"
            )
    except (FFmpegError, OSError) as error:
        raise InputError(_opening_sentence(spec, error, timeout_s)) from error


def _picture_stream(container: InputContainer, name: str) -> av.VideoStream:
    # Cover art is a picture stream too, but a song is not a video.
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    stream = next((s for s in pictures if s is best), next(iter(pictures), None))
    if stream is None:
        found = "sound but no pictures" if container.streams.audio else "no pictures"
        raise InputError(f"{name} holds {found}; expected a video")
    if stream.codec_context is None:
        raise InputError(f"{name} holds a video that this FFmpeg cannot decode; convert it to H.264 first")
    if stream.codec_context.name in TEXT_CODECS:
        raise InputError(f"{name} holds text, not pictures; expected a video")
    return stream


def _decoder_of(stream: av.VideoStream) -> av.VideoCodecContext:
    # FFmpeg's own VP8 and VP9 decoders drop transparency; Google's keep it.
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if library and library in av.codecs_available and stream.metadata.get("alpha_mode") == "1":
        return cast(av.VideoCodecContext, av.CodecContext.create(library, "r"))
    return stream.codec_context


def _opening_sentence(spec: SourceSpec, error: Exception, timeout_s: float) -> str:
    if isinstance(error, (ExitError, TimeoutError)) and spec.is_listening:
        return f"nobody sent anything to {spec.target} within {timeout_s:g} s; start the sender and try again"
    if spec.is_listening:
        return f"cannot listen on {spec.target} ({_reason(error)}); it must be an address of this machine"
    if isinstance(error, (ExitError, TimeoutError)):
        return f"{spec.name} did not answer within {timeout_s:g} s; check the address or allow more time"
    if spec.kind == "camera":
        return f"cannot open {spec.name} ({_reason(error)}); check that it is connected and not in use"
    if spec.kind == "url":
        return f"cannot read {spec.name} ({_reason(error)}); check the address"
    if isinstance(error, PermissionError):
        return f"cannot read {spec.name} (permission denied); check who may read it"
    return f"{spec.name} is not a video that FFmpeg can read, or its header is cut off ({_reason(error)})"


def _reading_sentence(spec: SourceSpec, error: Exception, timeout_s: float) -> str:
    if isinstance(error, (ExitError, TimeoutError)):
        return f"{spec.name} sent nothing for {timeout_s:g} s"
    if spec.kind == "camera":
        return f"{spec.name} disappeared ({_reason(error)})"
    return f"reading stopped with an error ({_reason(error)})"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
