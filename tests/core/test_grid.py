import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.core.errors import ConfigError
from vivace.core.grid import ChunkPlan, LatentGrid

GRID = LatentGrid(temporal_stride=4, spatial_stride=16)


def test_the_first_latent_frame_holds_one_raw_frame_and_later_ones_a_stride():
    assert [list(GRID.raw_frames_of(t)) for t in range(3)] == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]


@given(st.integers(1, 500))
def test_counting_raw_frames_inverts_counting_latent_frames(latent_frames):
    raw = GRID.num_raw_frames(latent_frames)
    assert GRID.num_latent_frames(raw) == latent_frames
    assert GRID.num_latent_frames(raw + 1) == latent_frames + 1
    assert raw == sum(len(GRID.raw_frames_of(t)) for t in range(latent_frames))


def test_an_indivisible_picture_is_refused_with_the_nearest_size():
    with pytest.raises(ConfigError, match="320x192"):
        GRID.latent_size(199, 333)
    assert GRID.tokens_per_frame(192, 320) == 240


def test_a_live_plan_never_ends():
    plan = ChunkPlan.live(2)
    sizes = [chunk.num_frames for chunk in itertools.islice(plan.chunks(), 5)]
    assert sizes == [1, 2, 2, 2, 2]
    assert plan.chunk(1000).start == 1 + 999 * 2


@pytest.mark.parametrize(("frames", "sizes"), [(17, [5, 3, 3, 3, 3]), (122, [5] + [3] * 39), (12, [3] * 4)])
def test_the_official_plan_gives_the_remainder_to_the_first_chunk(frames, sizes):
    plan = ChunkPlan.official(frames, 3)
    assert [chunk.num_frames for chunk in plan.chunks()] == sizes
    assert plan.sizes(0, frames) == tuple(sizes)


def test_the_official_plan_refuses_a_clip_shorter_than_a_chunk():
    with pytest.raises(ConfigError, match="at least one chunk of 3"):
        ChunkPlan.official(2, 3)


@pytest.mark.parametrize(("start", "frames"), [(0, 4), (1, 3), (5, 4), (6, 3)])
def test_a_range_off_the_chunk_borders_is_refused(start, frames):
    with pytest.raises(ConfigError, match="borders"):
        ChunkPlan.official(17, 3).sizes(start, frames)


def test_a_chunk_behind_the_end_is_refused():
    with pytest.raises(ConfigError, match="outside"):
        ChunkPlan.official(17, 3).chunk(5)
