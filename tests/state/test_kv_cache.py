import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vivace.state.kv_cache import SinkWindowCache


def token(frame: int) -> torch.Tensor:
    return torch.full((1, 1, 1, 2, 3), float(frame))


def filled(sizes: list[int], sink: int, window: int | None) -> tuple[SinkWindowCache, list[int]]:
    cache, dropped, start = SinkWindowCache.empty(token(0)), [], 0
    for size in sizes:
        frames = torch.cat([token(start + i) for i in range(size)], dim=2)
        cache, out = cache.append(frames, frames, start).evict(sink, window)
        dropped += out.positions
        start += size
    return cache, dropped


@pytest.mark.parametrize(
    ("sizes", "sink", "window", "kept"),
    [
        ([5], 1, 3, [0, 1, 2, 3, 4]),
        ([5, 3], 1, 3, [*range(8)]),
        ([5, 3, 3], 1, 3, [0, 1, 2, 3, 4, 8, 9, 10]),
        ([5, 3, 3, 3], 0, 6, [*range(8, 14)]),
        ([5, 3], 0, 6, [*range(8)]),
        ([1] * 9, 1, 4, [0, 5, 6, 7, 8]),
        ([3] * 5, 0, None, [*range(15)]),
        ([1] * 4, 2, 0, [0, 1]),
    ],
)
def test_sink_and_window_keep_whole_chunks(sizes, sink, window, kept):
    cache, _ = filled(sizes, sink, window)
    assert list(cache.positions) == kept
    assert cache.key[0, 0, :, 0, 0].tolist() == kept


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 6))
def test_every_frame_is_kept_or_was_dropped_once(sizes, sink, window):
    cache, dropped = filled(sizes, sink, window)
    assert sorted([*cache.positions, *dropped]) == list(range(sum(sizes)))
    assert list(cache.positions) == sorted(cache.positions)


def test_evicted_tokens_are_returned():
    cache, _ = filled([1, 1, 1], 1, 2)
    kept, dropped = cache.append(token(3), token(3), 3).evict(1, 2)
    assert dropped.positions == (1,)
    assert dropped.value.unique().item() == 1
    assert kept.positions == (0, 2, 3)


@pytest.mark.parametrize(
    ("oldest", "expected"),
    [
        (0, [0, 1, 2, 300, 301, 302]),
        (184, [184, 185, 186, 300, 301, 302]),
        # no room for the order of the sink
        (299, [299, 299, 299, 300, 301, 302]),
        (301, [301, 301, 301, 301, 301, 302]),
    ],
)
def test_a_sink_comes_nearer_as_a_whole(oldest, expected):
    nothing = token(0)[:, :, :0].expand(1, 1, 0, 2, 3)
    cache = SinkWindowCache(nothing, nothing, (0, 1, 2, 300, 301, 302), (3, 3))
    assert list(cache.positions_from(oldest, 3)) == expected


def test_without_a_sink_or_without_frames_nothing_is_moved_as_a_whole():
    nothing = token(0)[:, :, :0]
    assert SinkWindowCache.empty(nothing).positions_from(5, 1) == ()
    assert SinkWindowCache(nothing, nothing, (2, 3, 7), (2, 1)).positions_from(3, 0) == (3, 3, 7)
