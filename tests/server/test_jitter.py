"""Frames leave the buffer with their last packet, in order, whole, whatever the network does."""

import random

import pytest
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.jitter import EagerJitterBuffer


def packets(num_frames: int, sizes: list[int], start: int = 65_530) -> list[RtpPacket]:
    made = []
    for frame in range(num_frames):
        size = sizes[frame % len(sizes)]
        for part in range(size):
            packet = RtpPacket(
                sequence_number=(start + len(made)) % 65_536,
                timestamp=3000 * frame,
                marker=int(part == size - 1),
            )
            packet._data = bytes([frame, part])
            made.append(packet)
    return made


def test_a_video_frame_leaves_with_its_last_packet():
    buffer = EagerJitterBuffer(capacity=128, is_video=True)
    found = [buffer.add(packet)[1] for packet in packets(2, [3])]
    assert [frame and frame.data for frame in found] == [
        None, None, bytes([0, 0, 0, 1, 0, 2]), None, None, bytes([1, 0, 1, 1, 1, 2]),
    ]  # fmt: skip


def test_a_frame_without_a_marker_leaves_with_the_next_one():
    made = packets(2, [2])
    made[1].marker = 0
    buffer = EagerJitterBuffer(capacity=128, is_video=True)
    found = [buffer.add(packet)[1] for packet in made]
    assert [frame and frame.timestamp for frame in found] == [None, None, 0, 3000]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32))
def test_packets_out_of_order_give_whole_frames_in_order(sizes, seed):
    made = packets(12, sizes)
    rng = random.Random(seed)
    # the first packet tells where the stream begins; others come up to three places late
    mixed = made[:1] + sorted(made[1:], key=lambda one: made.index(one) + 3 * rng.random())
    buffer = EagerJitterBuffer(capacity=128, is_video=True)
    found = [frame for packet in mixed if (frame := buffer.add(packet)[1]) is not None]
    assert [frame.timestamp for frame in found] == sorted({frame.timestamp for frame in found})
    for frame in found:
        number, size = frame.timestamp // 3000, sizes[frame.timestamp // 3000 % len(sizes)]
        assert frame.data == b"".join(bytes([number, part]) for part in range(size))
    assert len(found) >= 6


@pytest.mark.parametrize("prefetch", [0, 4])
def test_sound_is_held_back_by_one_packet_at_most(prefetch):
    buffer = EagerJitterBuffer(capacity=16, prefetch=prefetch)
    found = [buffer.add(packet)[1] for packet in packets(5, [1])]
    assert [frame and frame.timestamp for frame in found] == [None, 0, 3000, 6000, 9000]
