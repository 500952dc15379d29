from vivace.engine.prompts import PromptTimeline
from vivace.engine.rewind import Snapshot, SnapshotRing
from vivace.pipelines.stream import Memories

PROMPT = PromptTimeline().add("words", 0.0, 0.0, is_exact=True)


def kept(ring: SnapshotRing, num_chunks: int, num_bytes: int = 10) -> SnapshotRing:
    for index in range(1, num_chunks + 1):
        ring.keep(Snapshot(Memories(None, None, None), num_bytes, index, 4 * index, PROMPT))
    return ring


def frame_back(ring: SnapshotRing, num_frames: float) -> int | None:
    found = ring.back(num_frames)
    return None if found is None else found[0].next_frame


def test_it_finds_the_newest_snapshot_that_is_old_enough():
    ring = kept(SnapshotRing(max_frames=100, max_bytes=10_000), 10)
    assert frame_back(ring, 0) == 40
    assert frame_back(ring, 4) == 36
    assert frame_back(ring, 5) == 32
    assert frame_back(ring, 1000) == 4
    assert ring.back(5) is not None
    assert ring.back(5)[1] == 8  # pyright: ignore[reportOptionalSubscript]


def test_it_reaches_as_far_as_asked_and_no_further():
    ring = kept(SnapshotRing(max_frames=12, max_bytes=10_000), 50)
    assert ring.reach_frames == 12
    assert ring.num_bytes == 40


def test_bytes_are_bounded_by_thinning_while_the_reach_stays():
    ring = kept(SnapshotRing(max_frames=400, max_bytes=100), 90)
    assert ring.num_bytes <= 100
    assert len(ring) == 10
    assert ring.reach_frames == 4 * 89
    assert frame_back(ring, 0) == 360


def test_a_branch_forgets_the_future():
    ring = kept(SnapshotRing(max_frames=100, max_bytes=10_000), 10)
    ring.forget_after(20)
    assert frame_back(ring, 0) == 20
    assert ring.num_bytes == 50


def test_no_room_or_no_wish_keeps_nothing():
    assert not SnapshotRing(max_frames=0, max_bytes=100).would_keep(10)
    assert not SnapshotRing(max_frames=10, max_bytes=100).would_keep(101)
    ring = SnapshotRing(max_frames=10, max_bytes=100)
    assert ring.back(1) is None
    assert ring.reach_frames == 0
    kept(ring, 3).clear()
    assert (ring.num_bytes, len(ring)) == (0, 0)
