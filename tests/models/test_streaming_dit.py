from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streaming import partitions
from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, StateError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, StreamingDit, TextContext, hybrid_mixers
from vivace.state.stream_state import join_states, split_state
from vivace.state.tree import tree_tensors

SOFTMAX = SoftmaxSpec(num_sink_frames=1, window_frames=2, max_distance_frames=4)
SPEC = DitSpec(
    in_channels=6,
    out_channels=3,
    dim=24,
    num_heads=2,
    mlp_ratio=2,
    text_dim=10,
    mixers=hybrid_mixers(4, 2, GdnSpec(), SOFTMAX),
)


def model(spec: DitSpec = SPEC) -> StreamingDit:
    torch.manual_seed(3)
    built = StreamingDit(spec)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built.eval().requires_grad_(False)


def text(dit: StreamingDit, batch: int = 1, seed: int = 0) -> TextContext:
    features = torch.randn(batch, 5, 10, generator=torch.Generator().manual_seed(seed))
    return dit.embed_text(features, torch.tensor([[True] * 4 + [False]]).expand(batch, 5))


def clip(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 6, frames, 4, 6, generator=torch.Generator().manual_seed(seed))


@given(partitions(7, 3), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_streaming_equals_offline_on_the_same_chunks_with_a_noise_level_per_frame(sizes, seed):
    dit = model()
    x, context = clip(7, seed=seed), text(dit)
    sigma = torch.rand(1, 7, generator=torch.Generator().manual_seed(seed))
    whole, _ = dit(x, sigma, context, write=False, chunks=sizes)
    state, parts, start = None, [], 0
    for size in sizes:
        part = slice(start, start + size)
        velocity, state = dit(x[:, :, part], sigma[:, part], context, state, write=True)
        parts.append(velocity)
        start += size
    assert state.next_frame == 7
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=1e-3, atol=2e-4)


def test_reading_changes_nothing_and_writing_consumes():
    dit = model()
    context, level = text(dit), torch.ones(1, 1)
    _, state = dit(clip(2), level, context, write=True)
    copy = state.clone()
    first, same = dit(clip(1, seed=1), level, context, state, write=False)
    again, _ = dit(clip(1, seed=1), level, context, state, write=False)
    assert same is state
    assert torch.equal(first, again)
    written, after = dit(clip(1, seed=1), level, context, state, write=True)
    assert torch.equal(written, first)
    assert after.next_frame == 3
    with pytest.raises(StateError, match="consumed"):
        dit(clip(1, seed=1), level, context, state, write=False)
    from_copy, _ = dit(clip(1, seed=1), level, context, copy, write=True)
    assert torch.equal(from_copy, first)


def test_a_failed_commit_can_be_tried_again_with_the_same_state():
    dit = model()
    context, level = text(dit), torch.ones(1, 1)
    _, state = dit(clip(2), level, context, write=True)
    with pytest.raises(RuntimeError):
        dit(clip(1)[:, :4], level, context, state, write=True)
    assert not state.is_consumed
    dit(clip(1), level, context, state, write=True)


def test_streams_in_one_batch_do_not_see_each_other():
    dit = model()
    level = torch.ones(1, 1)
    contexts = [text(dit, seed=i) for i in range(2)]
    alone = []
    for i in range(2):
        state = None
        for step in range(3):
            velocity, state = dit(clip(2, seed=10 * i + step), level, contexts[i], state, write=True)
        alone.append((velocity, state))
    joined = TextContext(
        tuple(torch.cat(pair) for pair in zip(contexts[0].keys, contexts[1].keys)),
        tuple(torch.cat(pair) for pair in zip(contexts[0].values, contexts[1].values)),
        torch.cat([contexts[0].mask, contexts[1].mask]),
    )
    state = None
    for step in range(3):
        both = torch.cat([clip(2, seed=step), clip(2, seed=10 + step)])
        velocity, state = dit(both, level.expand(2, 1), joined, state, write=True)
    for i, part in enumerate(split_state(state, 2)):
        torch.testing.assert_close(velocity[i : i + 1], alone[i][0], rtol=1e-5, atol=1e-5)
        for (_, ours), (_, theirs) in zip(tree_tensors(part.peek()), tree_tensors(alone[i][1].peek())):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_two_streams_in_turn_equal_each_alone_to_the_bit():
    dit = model()
    level, context = torch.ones(1, 1), text(dit)

    def stream(seed: int):
        state = None
        for step in range(3):
            velocity, state = dit(clip(1, seed=seed + step), level, context, state, write=True)
            yield velocity

    alone = [list(stream(0)), list(stream(50))]
    in_turn = list(zip(stream(0), stream(50)))
    assert all(torch.equal(a, b[0]) and torch.equal(c, b[1]) for a, c, b in zip(*alone, in_turn))


def test_a_joined_state_needs_the_same_frame():
    dit = model()
    level, context = torch.ones(1, 1), text(dit)
    _, early = dit(clip(1), level, context, write=True)
    _, late = dit(clip(2), level, context, write=True)
    with pytest.raises(StateError, match="same frame"):
        join_states([early, late])


def test_memory_of_a_long_stream_stays_bounded():
    dit = model()
    level, context, state, sizes = torch.ones(1, 1), text(dit), None, []
    for step in range(12):
        _, state = dit(clip(1, seed=step), level, context, state, write=True)
        sizes.append(state.num_bytes())
    assert sizes[-1] == sizes[4]
    assert all(tensor.isfinite().all() for _, tensor in tree_tensors(state.peek()))


def test_the_state_of_another_model_is_refused():
    other = model(
        DitSpec(
            in_channels=6,
            out_channels=3,
            dim=24,
            num_heads=2,
            mlp_ratio=2,
            text_dim=10,
            mixers=tuple(reversed(SPEC.mixers)),
        )
    )
    dit = model()
    _, state = other(clip(1), torch.ones(1, 1), text(other), write=True)
    with pytest.raises(StateError, match="another model"):
        dit(clip(1), torch.ones(1, 1), text(dit), state, write=False)


def test_chunks_that_do_not_cover_the_clip_are_refused():
    dit = model()
    with pytest.raises(ConfigError, match="add up to 4"):
        dit(clip(5), torch.ones(1, 1), text(dit), write=False, chunks=(2, 2))


def test_patches_are_put_back_where_they_came_from():
    spec = DitSpec(
        in_channels=3,
        out_channels=3,
        dim=24,
        num_heads=2,
        mlp_ratio=2,
        text_dim=10,
        mixers=(GdnSpec(),),
        patch_size=2,
    )
    dit = model(spec)
    x = torch.randn(1, 3, 2, 4, 6)
    velocity, _ = dit(x, torch.ones(1, 1), text(dit), write=False)
    assert velocity.shape == x.shape
    dit.final_table.zero_()
    dit.final.weight.zero_()
    dit.final.bias.copy_(torch.arange(12.0))
    velocity, _ = dit(x, torch.ones(1, 1), text(dit), write=False)
    assert velocity[0, :, 0, :2, :2].flatten().tolist() == list(range(12))


def test_softmax_blocks_stand_where_the_official_code_puts_them():
    mixers = hybrid_mixers(20, 5, GdnSpec(), SOFTMAX)
    assert [i for i, mixer in enumerate(mixers) if isinstance(mixer, SoftmaxSpec)] == [3, 7, 11, 15, 19]


def test_a_spec_survives_json():
    assert from_json(DitSpec, to_json(SPEC)) == SPEC


@pytest.mark.parametrize(("change", "message"), [({"dim": 25}, "even width"), ({"mixers": ()}, "no block")])
def test_an_impossible_spec_is_refused(change, message):
    data = {**to_json(SPEC), **{name: list(v) if isinstance(v, tuple) else v for name, v in change.items()}}
    with pytest.raises(ConfigError, match=message):
        from_json(DitSpec, data)


def test_only_a_model_that_is_told_places_can_tell_left_from_right():
    def answer(octaves: int, x: Tensor) -> Tensor:
        dit = model(replace(SPEC, place_octaves=octaves))
        return dit(x, torch.full((1, 1), 0.5), text(dit), write=False)[0]

    even = torch.ones(1, 6, 1, 4, 6)
    plain, told = answer(0, even), answer(2, even)
    # without places only the picture's border differs, and from the middle it is equally far to either side
    assert (told[..., 2] - told[..., 3]).abs().max() > 10 * (plain[..., 2] - plain[..., 3]).abs().max()


def test_a_model_that_is_given_places_starts_as_what_it_was():
    dit, x = model(), clip(3)
    told = StreamingDit(replace(SPEC, place_octaves=3)).requires_grad_(False)
    missing = told.load_state_dict(dit.state_dict(), strict=False).missing_keys
    assert missing == ["place.weight"]
    outputs = [each(x, torch.zeros(1, 1), text(dit), write=False)[0] for each in (dit, told)]
    assert torch.equal(*outputs)


def test_memory_can_be_written_over_block_by_block():
    dit = model()
    context, sigma = text(dit), torch.full((1, 1), 0.5)
    state = None
    for seed in range(4):
        _, state = dit(clip(1, seed=seed), sigma, context, state, write=True)
    expected, after = dit(clip(1, seed=9), sigma, context, state.clone(), write=True)
    room = state.peek()
    found, written = dit(clip(1, seed=9), sigma, context, state, write=True, room=room)
    assert torch.equal(found, expected)
    assert written.next_frame == after.next_frame
    trees = written.peek(), after.peek(), room
    for (name, a), (_, b), (_, place) in zip(*map(tree_tensors, trees), strict=True):
        assert torch.equal(a, b), name
        assert a.data_ptr() == place.data_ptr(), name
    positions = [block.mixer.positions for block in written.peek() if hasattr(block.mixer, "positions")]
    assert positions == [block.mixer.positions for block in after.peek() if hasattr(block.mixer, "positions")]
