"""The sound of a server's own source: its first track, decoded when it is due; knows no session."""

import logging
from collections import deque
from fractions import Fraction

from av.error import FFmpegError

from vivace.data.audio_track import AudioPacket
from vivace.data.video_source import VideoSource
from vivace.server.sound import Samples
from vivace.server.stereo import ToStereo

# Packets that wait for their time, 20 s at the usual 20 ms; of more the oldest go.
MAX_WAITING = 1024
# Bytes of packets that wait in the source for its next picture: half a minute of 16-bit sound as it is.
MAX_BYTES = 6_000_000
# Tracks of another rate stay silent: nobody records them, and a packet of one sample a second would be hours.
LEAST_RATE_HZ, MOST_RATE_HZ = 4_000, 384_000

_log = logging.getLogger(__name__)


class SourceSound:
    """Reads the sound of one opened source, for one thread; silent where it has none that can be used."""

    def __init__(self, source: VideoSource) -> None:
        self.num_damaged = 0
        self._source = source
        self._to_stereo = ToStereo()
        self._waiting: deque[AudioPacket] = deque(maxlen=MAX_WAITING)
        self._decoder = None
        if source.audio_streams:
            context = source.audio_streams[0].codec_context
            if LEAST_RATE_HZ <= context.sample_rate <= MOST_RATE_HZ:
                self._decoder = context
            else:
                _log.warning("the source has sound of %d Hz, which stays silent", context.sample_rate)

    @property
    def next_s(self) -> float | None:
        """When the oldest packet that waits is due, on the source's clock; None where none waits."""
        return float(self._waiting[0].time_s) if self._waiting else None

    def read(self) -> None:
        """Take over what the source has read on the way to its newest picture."""
        packets = self._source.take_audio()
        if self._decoder is not None:
            self._waiting.extend(one for one in packets if one.track == 0)

    def take(self, until_s: float) -> list[tuple[Samples, float]]:
        """Decode what is due by `until_s`: pieces of sound, each with the time of its first sample."""
        pieces: list[tuple[Samples, float]] = []
        while self._waiting and self._waiting[0].time_s <= until_s:
            pieces += self._decoded(self._waiting.popleft())
        return pieces

    def _decoded(self, waiting: AudioPacket) -> list[tuple[Samples, float]]:
        packet, decoder = waiting.packet, self._decoder
        assert decoder is not None
        assert packet.time_base is not None
        # times that were repaired, from the start of the source
        packet.pts = packet.dts = round(waiting.time_s / Fraction(packet.time_base))
        try:
            frames = decoder.decode(packet)
        except FFmpegError:
            # a damaged packet is a short silence
            self.num_damaged += 1
            return []
        return [piece for frame in frames for piece in self._to_stereo(frame)]
