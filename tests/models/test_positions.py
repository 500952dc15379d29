"""Streams of any length: rolling positions are fixed ones with a moving origin."""

import dataclasses

import pytest
import torch
from torch import Tensor

from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, StateError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.layers.linear_attention import LinearSpec
from vivace.layers.positions import FixedPositions, Positions, RollingPositions, rebased
from vivace.layers.rope import rotate, rotation_table
from vivace.models.streaming_dit import DitSpec, MixerSpec, StreamingDit, TextContext, hybrid_mixers
from vivace.state.kv_cache import SinkWindowCache
from vivace.state.recurrent import GdnState
from vivace.state.tree import tree_tensors

CHUNK = 3


def spec(positions: Positions, cap: int | None = None, more: tuple[MixerSpec, ...] = ()) -> DitSpec:
    softmax = SoftmaxSpec(num_sink_frames=CHUNK, window_frames=CHUNK, max_distance_frames=cap)
    return DitSpec(
        in_channels=4,
        out_channels=4,
        dim=24,
        num_heads=2,
        mlp_ratio=1,
        text_dim=8,
        mixers=(*more, *hybrid_mixers(2, 1, GdnSpec(), softmax)),
        positions=positions,
    )


def model(positions: Positions, cap: int | None = None, more: tuple[MixerSpec, ...] = ()) -> StreamingDit:
    torch.manual_seed(5)
    dit = StreamingDit(spec(positions, cap, more))
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return dit.eval().requires_grad_(False)


def prompt(dit: StreamingDit) -> TextContext:
    features = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    return dit.embed_text(features, torch.ones(1, 3, dtype=torch.bool))


def noise(start: int, frames: int) -> Tensor:
    return torch.randn(1, 4, frames, 2, 2, generator=torch.Generator().manual_seed(start))


def stream(dit: StreamingDit, num_frames: int, chunk: int = CHUNK) -> list[Tensor]:
    """Velocities of every chunk; the state is checked on the way."""
    context, level, state, parts, num_bytes = prompt(dit), torch.full((1, 1), 0.7), None, [], set()
    for start in range(0, num_frames, chunk):
        velocity, state = dit(noise(start, chunk), level, context, state, write=True)
        parts.append(velocity)
        if start > 2 * chunk:
            num_bytes.add(state.num_bytes())
    assert state is not None
    assert state.next_frame == num_frames
    assert all(leaf.isfinite().all() for _, leaf in tree_tensors(state.peek()))
    assert len(num_bytes) <= 1
    return parts


def test_rolling_equals_fixed_to_the_bit_inside_the_frames_of_training():
    fixed = stream(model(FixedPositions()), 120)
    rolling = stream(model(RollingPositions(), cap=122 - CHUNK), 120)
    assert len(fixed) == 40
    assert all(torch.equal(a, b) for a, b in zip(fixed, rolling))


def test_moving_the_origin_changes_only_rounding():
    # every kind of memory that knows of positions
    more = (LinearSpec(),)
    still = stream(model(FixedPositions(), more=more), 60)
    for period in (4, 7, 30):
        moved = stream(model(RollingPositions(period_frames=period), more=more), 60)
        torch.testing.assert_close(torch.cat(moved, 2), torch.cat(still, 2), atol=2e-4, rtol=1e-3)


def test_six_thousand_latent_frames_stream_on_without_drift():
    chunk = 12
    absolute = stream(model(RollingPositions(period_frames=10**6), 122 - chunk), 6000, chunk)
    rolling = stream(model(RollingPositions(), 122 - chunk), 6000, chunk)
    last = torch.cat(absolute[-10:], 2), torch.cat(rolling[-10:], 2)
    assert not torch.equal(*last)
    torch.testing.assert_close(*last, atol=2e-4, rtol=1e-3)


def test_a_capped_sink_looks_the_same_from_everywhere_and_an_uncapped_one_moves_away():
    size, like = (1, 1), torch.zeros(1, 2, 6, 1, 12)
    for cap, is_same in ((9, True), (None, False)):
        dit = model(RollingPositions(period_frames=1024), cap)
        attention = dit.blocks[1].mixer
        tables = []
        for start in (300, 900):
            positions = (0, 1, 2, start - 3, start - 2, start - 1)
            cache = attention_cache(like, positions)
            past = attention.past_rotation(cache, start, size)
            # relative to the chunk: what the scores depend on
            own = rotation_table([start], *size, 12, like.device)
            tables.append(past * own.conj())
        assert torch.allclose(*tables, atol=1e-5) == is_same


def attention_cache(like: Tensor, positions: tuple[int, ...]) -> SinkWindowCache:
    return SinkWindowCache(like, like, positions, (3, 3))


def test_a_rebased_numerator_reads_the_same_under_rebased_queries():
    torch.manual_seed(0)
    numerator, denominator = torch.randn(1, 2, 5, 12), torch.rand(1, 2, 12)
    query = torch.randn(1, 2, 1, 4, 12)
    before = rotation_table([37], 2, 2, 12, query.device)
    after = rotation_table([37 - 30], 2, 2, 12, query.device)
    moved = rebased(GdnState(numerator, denominator), 30)
    read = rotate(query, before) @ numerator[:, :, None].mT
    torch.testing.assert_close(
        rotate(query, after) @ moved.numerator[:, :, None].mT, read, atol=1e-5, rtol=1e-5
    )
    assert torch.equal(moved.denominator, denominator)
    assert not torch.allclose(moved.numerator, numerator, atol=0.1)


def test_a_stream_with_fixed_positions_ends_with_the_table_and_its_state_stays():
    dit = model(FixedPositions(num_frames=6))
    context, level = prompt(dit), torch.ones(1, 1)
    _, state = dit(noise(0, 6), level, context, write=True, chunks=(3, 3))
    with pytest.raises(StateError, match="latent frames 6 to 9 are beyond the 6"):
        dit(noise(6, 3), level, context, state, write=True)
    assert not state.is_consumed


def test_a_cap_needs_rolling_positions_and_periods_are_positive():
    with pytest.raises(ConfigError, match="max_distance_frames must be None"):
        spec(FixedPositions(), cap=4)
    with pytest.raises(ConfigError, match="at least 1"):
        RollingPositions(period_frames=0)
    with pytest.raises(ConfigError, match="at least 1"):
        FixedPositions(num_frames=0)


def test_positions_survive_json_and_older_files_without_them_roll():
    for positions in (FixedPositions(num_frames=7), RollingPositions(period_frames=5)):
        assert from_json(DitSpec, to_json(spec(positions))) == spec(positions)
    data = to_json(spec(RollingPositions()))
    del data["positions"]
    assert from_json(DitSpec, data) == dataclasses.replace(spec(RollingPositions()))
