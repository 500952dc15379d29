"""The sound tracks of a source as timed packets, kept only until somebody takes them; decodes nothing."""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import av

from vivace.data.frame_timing import SteadyTimes

# Used when neither the packet nor the track says how long a packet lasts.
FALLBACK_PACKET_S = Fraction(1, 50)


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPacket:
    """A compressed piece of sound; `time_s` counts from the start of the edited range."""

    track: int
    packet: av.Packet
    time_s: Fraction


class AudioQueue:
    """Holds the packets that were read on the way to the next picture.

    Only what lies in the edited range is kept, whole packets at a time, so that packets need not be decoded
    to be cut: sound begins at most one packet (about 20 ms) after the first picture, at its right place.
    Of what nobody takes at most `max_bytes` are kept, the newest; None keeps all.
    """

    def __init__(self, streams: tuple[av.AudioStream, ...], max_bytes: int | None = None) -> None:
        self.streams = streams
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._track_of = {stream.index: track for track, stream in enumerate(streams)}
        self._clocks = [SteadyTimes() for _ in streams]
        self._waiting: deque[tuple[int, av.Packet, Fraction]] = deque()
        self._ends_s = [Fraction(0) for _ in streams]

    def put(self, packet: av.Packet) -> None:
        """Keep a packet if it belongs to one of the tracks."""
        track = self._track_of.get(packet.stream_index)
        if track is None or not packet.size:
            return
        duration_s = packet.duration * packet.time_base if packet.duration else FALLBACK_PACKET_S
        claimed = packet.pts if packet.pts is not None else packet.dts
        time_s = self._clocks[track].repair(
            None if claimed is None else claimed * packet.time_base, duration_s
        )
        self._ends_s[track] = time_s + duration_s
        self._waiting.append((track, packet, time_s))
        self._num_bytes += packet.size
        while self._max_bytes is not None and self._num_bytes > self._max_bytes:
            self._num_bytes -= self._waiting.popleft()[1].size

    def starts(self, zero_s: Fraction, *, is_cut: bool) -> tuple[Fraction | None, ...]:
        """When each track begins after `zero_s`, None for those of which nothing was read yet; see `take`."""
        starts: list[Fraction | None] = [None] * len(self.streams)
        for track, _, file_time_s in reversed(self._waiting):
            if not is_cut or file_time_s >= zero_s:
                starts[track] = file_time_s - zero_s
        return tuple(starts)

    def has_reached(self, time_s: Fraction) -> bool:
        """Whether every track was read up to `time_s` on the file's own clock."""
        return all(end_s >= time_s for end_s in self._ends_s)

    def take(self, zero_s: Fraction, is_cut: bool, duration_s: Fraction | None) -> list[AudioPacket]:
        """Remove and return what was read so far, timed from `zero_s` on the file's own clock.

        Args:
            zero_s: Where the edited range begins.
            is_cut: Whether that is inside the file; what lies before it is then dropped. Otherwise packets
                before zero are the encoder's priming and stay.
            duration_s: Length of the edited range; None is up to the end.
        """
        taken: list[AudioPacket] = []
        while self._waiting:
            track, packet, file_time_s = self._waiting.popleft()
            time_s = file_time_s - zero_s
            if (is_cut and time_s < 0) or (duration_s is not None and time_s >= duration_s):
                continue
            taken.append(AudioPacket(track=track, packet=packet, time_s=time_s))
        self._num_bytes = 0
        return taken
