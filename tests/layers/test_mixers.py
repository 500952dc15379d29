import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streaming import partitions
from vivace.core.errors import ConfigError
from vivace.layers.attention import CrossAttention, SinkWindowAttention, SoftmaxSpec, additive_mask
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer, GdnSpec
from vivace.layers.linear_attention import LinearMixer, LinearSpec
from vivace.layers.rope import axis_pairs, rotate, rotation_table

DIM, HEADS, SIZE, FRAMES = 24, 2, (2, 3), 7
CPU = torch.device("cpu")


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    return module.double().requires_grad_(False)


def tokens(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, FRAMES, SIZE[0] * SIZE[1], DIM, generator=generator, dtype=torch.float64)


def table(start: int, frames: int) -> Tensor:
    return rotation_table(range(start, start + frames), *SIZE, DIM // HEADS, CPU)


def run(layer: torch.nn.Module, x: Tensor, state, chunks, start: int):
    match layer:
        case GdnMixer() | LinearMixer():
            return layer(x, table(start, x.shape[1]), state, chunks)
        case SinkWindowAttention():
            return layer(x, table(start, x.shape[1]), state, chunks, start, SIZE, write=True)
        case _:
            return layer(x, state, chunks, SIZE)


LAYERS = {
    "gdn": lambda: GdnMixer(DIM, HEADS, GdnSpec()),
    "linear": lambda: LinearMixer(DIM, HEADS, LinearSpec()),
    "window": lambda: SinkWindowAttention(DIM, HEADS, SoftmaxSpec(num_sink_frames=1, window_frames=2)),
    "capped": lambda: SinkWindowAttention(
        DIM, HEADS, SoftmaxSpec(num_sink_frames=1, window_frames=2, max_distance_frames=3)
    ),
    "history": lambda: SinkWindowAttention(DIM, HEADS, SoftmaxSpec(num_sink_frames=0, window_frames=None)),
    "feed_forward": lambda: GluConvFeedForward(DIM, 16),
}


@pytest.mark.parametrize("kind", LAYERS)
@given(partitions(FRAMES, 3), st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_streaming_a_clip_equals_the_whole_clip_on_the_same_chunks(kind, sizes, seed):
    layer = randomised(LAYERS[kind](), seed)
    x = tokens(seed)
    whole, _ = run(layer, x, None, sizes, 0)
    state, parts, start = None, [], 0
    for size in sizes:
        part, state = run(layer, x[:, start : start + size], state, (size,), start)
        parts.append(part)
        start += size
    # rotations are single precision whatever the layer is
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_later_chunk_never_changes_an_earlier_one(kind):
    layer, x = randomised(LAYERS[kind]()), tokens()
    changed = x.clone()
    changed[:, 4:] += 1
    before, _ = run(layer, x, None, (2, 2, 3), 0)
    after, _ = run(layer, changed, None, (2, 2, 3), 0)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


@pytest.mark.parametrize("kind", ["gdn", "linear", "history", "feed_forward"])
def test_memory_reaches_the_next_chunk(kind):
    layer, x = randomised(LAYERS[kind]()), tokens()
    changed = x.clone()
    changed[:, 1] += 1
    before, _ = run(layer, x, None, (2, 2, 3), 0)
    after, _ = run(layer, changed, None, (2, 2, 3), 0)
    assert not torch.equal(before[:, 2], after[:, 2])


def test_a_read_only_pass_leaves_the_cache_as_it_was():
    layer, x = randomised(LAYERS["window"]()), tokens()
    _, state = run(layer, x[:, :3], None, (3,), 0)
    read, same = layer(x[:, 3:5], table(3, 2), state, (2,), 3, SIZE, write=False)
    written, after = layer(x[:, 3:5], table(3, 2), state, (2,), 3, SIZE, write=True)
    assert same is state
    assert torch.equal(read, written)
    assert after.positions == (0, 1, 2, 3, 4)


def test_the_window_bounds_what_is_seen():
    layer, x = randomised(LAYERS["window"]()), tokens()
    changed = x.clone()
    changed[:, 2] += 1
    chunks = (1,) * FRAMES
    before, _ = run(layer, x, None, chunks, 0)
    after, _ = run(layer, changed, None, chunks, 0)
    assert not torch.equal(before[:, 4], after[:, 4])
    assert torch.equal(before[:, 5:], after[:, 5:])


def test_a_capped_distance_makes_far_streams_look_like_near_ones():
    layer, x = randomised(LAYERS["capped"]()), tokens()
    results = []
    for gap in (4, 4000):
        _, state = run(layer, x[:, :1], None, (1,), 0)
        out, _ = run(layer, x[:, 1:3], state, (2,), gap)
        results.append(out)
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_rotation_depends_on_distances_only():
    query, key = torch.randn(1, 1, 1, 6, 12), torch.randn(1, 1, 1, 6, 12)

    def scores(frame_q: int, frame_k: int) -> Tensor:
        rotated = [
            rotate(x, rotation_table([f], *SIZE, 12, CPU)) for x, f in ((query, frame_q), (key, frame_k))
        ]
        return rotated[0] @ rotated[1].mT

    torch.testing.assert_close(scores(5, 2), scores(1005, 1002), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(scores(5, 2), scores(5, 3), atol=1e-3)


def test_a_head_of_112_gives_the_official_axis_split():
    assert axis_pairs(112) == (20, 18, 18)


def test_masked_text_is_never_seen():
    layer = randomised(CrossAttention(DIM, HEADS))
    text = torch.randn(1, 5, DIM, dtype=torch.float64)
    mask = additive_mask(torch.tensor([[True, True, True, False, False]]), torch.float64)
    changed = text.clone()
    changed[:, 3:] += 1
    outs = [layer(tokens(), *layer.project_text(each), mask) for each in (text, changed, text[:, :3])[:2]]
    assert torch.equal(*outs)
    short = layer(tokens(), *layer.project_text(text[:, :3]), mask[..., :3])
    torch.testing.assert_close(short, outs[0])


def test_the_bf16_path_of_the_cpu_stays_close_to_fp32():
    layer = SinkWindowAttention(64, 2, SoftmaxSpec(num_sink_frames=0, window_frames=None))
    x = torch.randn(1, 4, 6, 64)
    grid = rotation_table(range(4), *SIZE, 32, CPU)
    with torch.no_grad():
        exact, _ = layer(x, grid, None, (2, 2), 0, SIZE, write=False)
        half, _ = layer.bfloat16()(x.bfloat16(), grid, None, (2, 2), 0, SIZE, write=False)
    assert (half - exact).norm() / exact.norm() < 2e-2


@pytest.mark.parametrize("window", [-1])
def test_a_negative_window_is_refused(window):
    with pytest.raises(ConfigError, match="0 or more"):
        SoftmaxSpec(num_sink_frames=0, window_frames=window)
