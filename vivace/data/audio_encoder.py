"""Encodes one sound track anew, with silence before a late start; knows nothing of other tracks."""

from fractions import Fraction

import av
from av.container import OutputContainer
from av.error import FFmpegError

from vivace.data.audio_track import AudioPacket

AAC_RATES_HZ = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
MP3_RATES_HZ = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
OPUS_RATES_HZ = (48_000,)
RATES_HZ = {"aac": AAC_RATES_HZ, "libmp3lame": MP3_RATES_HZ, "libopus": OPUS_RATES_HZ}
BITS_PER_S_OF_CHANNEL = 80_000
# Times of packets are rounded by containers; only a larger gap or overlap is a real one.
TOLERATED_S = Fraction(1, 20)


class EncodedTrack:
    """One track that is decoded and encoded.

    With `starts_silent` the track begins at time zero with silence, however late its first packet comes;
    `keeps_priming` says whether the container can hold the encoder's start-up, which lies before zero.
    """

    def __init__(
        self,
        output: OutputContainer,
        encoder: str,
        stream: av.AudioStream,
        *,
        keeps_priming: bool,
        starts_silent: bool,
    ) -> None:
        self.written = _add_encoder(output, encoder, stream.codec_context)
        self.action = f"encoded as {self.written.codec_context.codec.canonical_name}"
        self._rate_hz = self.written.codec_context.sample_rate
        self._decoder = stream.codec_context
        self._keeps_priming = keeps_priming
        self._is_silent = starts_silent
        # The sample that is to be encoded next; None before the first.
        self._next_sample: int | None = 0 if starts_silent else None
        self._resampler = av.AudioResampler()
        self._shape: tuple[str, str, int] | None = None

    def convert(self, packet: AudioPacket) -> list[av.Packet]:
        """Encode what one packet holds."""
        piece = packet.packet
        piece.pts = piece.dts = round(packet.time_s / piece.time_base)
        return self._encode(piece)

    def silence_until(self, end_s: Fraction) -> list[av.Packet]:
        """Silence up to `end_s`, as long as a track that starts silent has not begun to sound."""
        return self._silence(round(end_s * self._rate_hz)) if self._is_silent else []

    def flush(self) -> list[av.Packet]:
        """What the decoder and the encoder still hold."""
        return [*self._encode(None), *self._audible(self.written.encode(None))]

    def _encode(self, piece: av.Packet | None) -> list[av.Packet]:
        try:
            frames = self._decoder.decode(piece)
        except FFmpegError:
            # A damaged packet leaves a gap; the source reports damage.
            return []
        fitted = [piece for frame in frames for piece in self._fitted(frame)]
        return [packet for frame in fitted for packet in self._continue(frame)]

    def _continue(self, frame: av.AudioFrame) -> list[av.Packet]:
        # Encoders count samples and ignore times, so gaps are filled and overlaps dropped here.
        self._is_silent = False
        claimed = self._next_sample or 0
        if frame.pts is not None and frame.time_base is not None:
            claimed = round(frame.pts * frame.time_base * self._rate_hz)
        if self._next_sample is None:
            self._next_sample = claimed
        tolerated = round(TOLERATED_S * self._rate_hz)
        if claimed < self._next_sample - tolerated:
            return []
        before = self._silence(claimed) if claimed > self._next_sample + tolerated else []
        return [*before, *self._append(frame)]

    def _append(self, frame: av.AudioFrame) -> list[av.Packet]:
        assert self._next_sample is not None
        frame.pts, frame.time_base = self._next_sample, Fraction(1, self._rate_hz)
        self._next_sample += frame.samples
        return self._audible(self.written.encode(frame))

    def _fitted(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        # Broadcasts switch between stereo and surround in mid-stream; each needs a resampler of its own.
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            context, self._shape = self.written.codec_context, shape
            self._resampler = av.AudioResampler(context.format, context.layout, context.sample_rate)
        return self._resampler.resample(frame)

    def _silence(self, end_sample: int) -> list[av.Packet]:
        context = self.written.codec_context
        encoded: list[av.Packet] = []
        while (self._next_sample or 0) < end_sample:
            missing = end_sample - (self._next_sample or 0)
            frame = av.AudioFrame(context.format.name, context.layout.name, min(missing, self._rate_hz))
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = self._rate_hz
            encoded += self._append(frame)
        return encoded

    def _audible(self, packets: list[av.Packet]) -> list[av.Packet]:
        return [packet for packet in packets if self._keeps_priming or (packet.pts or 0) >= 0]


def _add_encoder(output: OutputContainer, encoder: str, source: av.AudioCodecContext) -> av.AudioStream:
    rates_hz = RATES_HZ[encoder]
    rate_hz = source.sample_rate if source.sample_rate in rates_hz else 48_000
    is_surround = source.channels >= 6 and encoder != "libmp3lame"
    layout = "5.1" if is_surround else "mono" if source.channels == 1 else "stereo"
    written = output.add_stream(encoder, rate=rate_hz)
    assert isinstance(written, av.AudioStream)
    written.codec_context.layout = layout
    written.codec_context.bit_rate = BITS_PER_S_OF_CHANNEL * written.codec_context.channels
    return written
