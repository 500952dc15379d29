"""Carries sound tracks of a source into an output: copied where the container allows, else encoded again."""

from collections import deque
from collections.abc import Mapping
from fractions import Fraction

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer

from vivace.data.audio_encoder import EncodedTrack
from vivace.data.audio_track import AudioPacket
from vivace.data.output_format import Container
from vivace.data.video_source import VideoSource

# QuickTime knows languages by the older of their two ISO 639-2 codes only.
QUICKTIME_LANGUAGES = {
    "ces": "cze",
    "deu": "ger",
    "ell": "gre",
    "fas": "per",
    "isl": "ice",
    "nld": "dut",
    "zho": "chi",
}


class AudioWriter:
    """Writes the packets of every sound track in step with the pictures.

    `actions` says for each track of the source what happens: "copied", "encoded as ..." or "left out". Only
    what lies before the picture being written is handed on, so memory stays constant.
    """

    def __init__(self, output: OutputContainer, container: Container, source: VideoSource) -> None:
        self._output = output
        self._source = source
        self._waiting: deque[AudioPacket] = deque()
        self._tracks = [
            _open_track(output, container, stream, start_s)
            for stream, start_s in zip(source.audio_streams, source.audio_starts_s, strict=True)
        ]
        self.actions = tuple(track.action if track else "left out" for track in self._tracks)

    def write_until(self, end_s: Fraction | None) -> None:
        """Write what is heard before `end_s` (None: everything read so far)."""
        self._waiting.extend(self._source.take_audio())
        later: deque[AudioPacket] = deque()
        while self._waiting:
            packet = self._waiting.popleft()
            track = self._tracks[packet.track]
            if end_s is not None and packet.time_s >= end_s:
                later.append(packet)
            elif track is not None:
                self._output.mux(track.convert(packet))
        self._waiting = later
        for track in self._tracks:
            if isinstance(track, EncodedTrack) and end_s is not None:
                self._output.mux(track.silence_until(end_s))

    def finish(self) -> None:
        """Write what the encoders still hold; packets after the last `write_until` are dropped."""
        for track in self._tracks:
            if track is not None:
                self._output.mux(track.flush())


class _CopiedTrack:
    def __init__(
        self, written: av.AudioStream, *, keeps_priming: bool, unpacker: BitStreamFilterContext | None
    ) -> None:
        self.action = "copied"
        self.written = written
        self._keeps_priming = keeps_priming
        self._unpacker = unpacker
        self._last_tick: int | None = None

    def convert(self, packet: AudioPacket) -> list[av.Packet]:
        copied = packet.packet
        tick = round(packet.time_s / copied.time_base)
        if tick < 0 and not self._keeps_priming:
            # An encoder's priming lies before zero. Where the container cannot say so it would push the
            # pictures back by as much; without it the sound merely fades in over one packet.
            if -tick * 2 > (copied.duration or 0):
                return []
            tick = 0
        if self._last_tick is not None:
            # Times that differ may still round to one tick, which no container takes twice.
            tick = max(tick, self._last_tick + 1)
        self._last_tick = tick
        copied.pts = copied.dts = tick
        pieces = self._unpacker.filter(copied) if self._unpacker else [copied]
        for piece in pieces:
            piece.stream = self.written
        return pieces

    def flush(self) -> list[av.Packet]:
        return []


def _open_track(
    output: OutputContainer, container: Container, stream: av.AudioStream, start_s: Fraction | None
) -> _CopiedTrack | EncodedTrack | None:
    codec = stream.codec_context.codec.canonical_name
    is_late = container.latest_sound_s is not None and (start_s is None or start_s > container.latest_sound_s)
    if codec in container.audio and not is_late:
        track = _copied_track(output, container, stream)
    elif container.audio_encoder is not None:
        track = EncodedTrack(
            output,
            container.audio_encoder,
            stream,
            keeps_priming=container.has_priming,
            starts_silent=is_late,
        )
    else:
        return None
    track.written.metadata.update(_kept_tags(stream.metadata, container))
    return track


def _copied_track(output: OutputContainer, container: Container, stream: av.AudioStream) -> _CopiedTrack:
    codec = stream.codec_context.codec.canonical_name
    # Matroska names the priming in the track's header. A copied header has it if it comes from there, one of
    # Opus always.
    is_named = codec == "opus" or "matroska" in stream.container.format.name
    # Broadcast AAC carries its header in every packet; an index that is written late does not unpack it.
    is_packed = codec == "aac" and container.is_fragmented and not stream.codec_context.extradata
    return _CopiedTrack(
        output.add_stream_from_template(stream),
        keeps_priming=container.is_fragmented or (container.has_priming and is_named),
        unpacker=BitStreamFilterContext("aac_adtstoasc", stream) if is_packed else None,
    )


def _kept_tags(tags: Mapping[str, str], container: Container) -> dict[str, str]:
    kept = {key: value for key, value in tags.items() if key in ("language", "title")}
    if container.ffmpeg_format == "mov" and "language" in kept:
        kept["language"] = QUICKTIME_LANGUAGES.get(kept["language"], kept["language"])
    return kept
