"""Replayed forwards equal direct ones; on the CPU a stand-in runs the recorded forward again in place."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gpu_checks import waiting_is_an_error
from graph_stand_ins import RerunGraphs
from vivace.core.errors import StateError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.layers.positions import RollingPositions
from vivace.models.streaming_dit import DitSpec, StreamingDit, TextContext, hybrid_mixers
from vivace.pipelines.velocity_graphs import VelocityGraphs
from vivace.state.tree import tree_map, tree_tensors

SPEC = DitSpec(
    in_channels=6,
    out_channels=3,
    dim=24,
    num_heads=2,
    mlp_ratio=2,
    text_dim=10,
    mixers=hybrid_mixers(
        4, 2, GdnSpec(), SoftmaxSpec(num_sink_frames=2, window_frames=2, max_distance_frames=9)
    ),
    # the origin of positions moves twice within the streams below
    positions=RollingPositions(period_frames=7),
)
LEVELS = (1.0, 0.5)


def model(spec: DitSpec = SPEC) -> StreamingDit:
    torch.manual_seed(3)
    built = StreamingDit(spec)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return built.eval().requires_grad_(False)


def text(dit: StreamingDit, seed: int = 0) -> TextContext:
    features = torch.randn(1, 5, 10, generator=torch.Generator().manual_seed(seed))
    return dit.embed_text(features, torch.tensor([[True] * 4 + [False]]))


def clip(seed: int) -> Tensor:
    return torch.randn(1, 6, 2, 4, 6, generator=torch.Generator().manual_seed(seed))


def stream(velocity: Callable, prompts: list[TextContext], seed: int, *, last_step: bool = False):
    """Velocities and states of a stream, chunk after chunk."""
    state = None
    for index, prompt in enumerate(prompts):
        outs = []
        for step, level in enumerate(LEVELS):
            write = last_step and step + 1 == len(LEVELS)
            out, state = velocity(
                clip(seed + 10 * index + step), torch.full((1, 1), level), prompt, state, write=write
            )
            outs.append(out.clone())
        if not last_step:
            _, state = velocity(clip(seed + 10 * index + 7), torch.zeros(1, 1), prompt, state, write=True)
        # the next chunk consumes the state and may write over its tensors
        yield outs, state, tree_map(torch.clone, state.peek())


def assert_same_stream(ours, theirs) -> None:
    for (outs, state, tree), (expected, expected_state, expected_tree) in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(outs, expected))
        assert state.next_frame == expected_state.next_frame
        for block, expected_block in zip(tree, expected_tree):
            for (name, a), (_, b) in zip(tree_tensors(block), tree_tensors(expected_block)):
                assert torch.equal(a, b), name
            if hasattr(block.mixer, "positions"):
                assert block.mixer.positions == expected_block.mixer.positions
                assert block.mixer.chunk_sizes == expected_block.mixer.chunk_sizes


@pytest.mark.parametrize("last_step", [False, True])
def test_a_replayed_stream_equals_a_direct_one(last_step):
    dit = model()
    replayed = RerunGraphs(dit)
    prompts = [text(dit)] * 4 + [text(dit, seed=1)] * 4
    direct = list(stream(dit, prompts, 0, last_step=last_step))
    assert_same_stream(stream(replayed, prompts, 0, last_step=last_step), direct)
    assert replayed.num_recordings() == 2


def test_streams_in_turn_share_recordings_and_no_memory():
    dit = model()
    # chunks of the same shapes count whichever stream they are of
    replayed = RerunGraphs(dit, settled_chunks=3)
    prompts = [text(dit)] * 8
    direct = [list(stream(dit, prompts, seed)) for seed in (0, 500)]
    in_turn = list(zip(*(stream(replayed, prompts, seed) for seed in (0, 500)), strict=True))
    for index in range(2):
        assert_same_stream([both[index] for both in in_turn], direct[index])
    assert replayed.num_recordings() == 2


@pytest.mark.parametrize("last_step", [False, True])
def test_first_chunks_are_replayed_once_two_streams_have_begun(last_step):
    dit = model()
    replayed = RerunGraphs(dit)
    prompts = [text(dit)], [text(dit, seed=1)], [text(dit, seed=2)] * 2, [text(dit)]
    counts = []
    for seed, each in enumerate(prompts):
        direct = list(stream(dit, each, 100 * seed, last_step=last_step))
        assert_same_stream(stream(replayed, each, 100 * seed, last_step=last_step), direct)
        counts.append(replayed.num_recordings())
    # steps that read and the one that writes are two recordings
    assert counts == [0, 0, 2, 2]


def test_a_state_can_be_kept_and_used_again():
    dit = model()
    replayed = RerunGraphs(dit)
    prompts = [text(dit)] * 6
    *_, (_, state, _) = stream(replayed, prompts, 0)
    kept = state.clone()
    first, after = replayed(clip(90), torch.zeros(1, 1), prompts[0], state, write=True)
    replayed(clip(91), torch.zeros(1, 1), prompts[0], after, write=True)
    again, _ = replayed(clip(90), torch.zeros(1, 1), prompts[0], kept, write=True)
    assert torch.equal(first, again)
    with pytest.raises(StateError, match="consumed"):
        replayed(clip(90), torch.zeros(1, 1), prompts[0], state, write=False)


def test_a_chunk_leaves_memory_in_place_until_another_stream_needs_the_room():
    dit = model()
    replayed = RerunGraphs(dit)
    prompts = [text(dit)] * 6
    *_, (_, first, _) = stream(replayed, prompts, 0)
    before = [tensor.data_ptr() for _, tensor in tree_tensors(first.peek())]
    _, after = replayed(clip(90), torch.zeros(1, 1), prompts[0], first, write=True)
    in_place = [tensor.data_ptr() for _, tensor in tree_tensors(after.peek())]
    # those that a new origin of positions has rotated are in memory of their own
    assert sum(a == b for a, b in zip(before, in_place)) > len(before) // 2
    expected = tree_map(torch.clone, after.peek())
    for _ in stream(replayed, prompts, 500):
        pass
    for (name, a), (_, b) in zip(tree_tensors(after.peek()), tree_tensors(expected)):
        assert torch.equal(a, b), name


def test_a_replay_that_fails_while_it_writes_leaves_no_state_to_try_again_with():
    dit = model()
    replayed = RerunGraphs(dit)
    prompts = [text(dit)] * 6
    *_, (_, state, _) = stream(replayed, prompts, 0)
    (buffers,) = replayed._buffers.values()
    broken = buffers.recordings[True]
    broken.replay = lambda: (_ for _ in ()).throw(MemoryError)
    with pytest.raises(MemoryError):
        replayed(clip(90), torch.zeros(1, 1), prompts[0], state, write=True)
    with pytest.raises(StateError, match="consumed"):
        replayed(clip(90), torch.zeros(1, 1), prompts[0], state, write=True)


def test_states_of_first_chunks_keep_nothing_else_alive():
    dit = model()
    replayed = RerunGraphs(dit)
    _, state = replayed(clip(0), torch.ones(1, 1), text(dit), None, write=True)
    assert replayed.num_recordings() == 0
    for name, tensor in tree_tensors(state.peek()):
        assert tensor.nbytes == tensor.untyped_storage().nbytes(), name


def test_starts_of_streams_are_recorded_only_where_that_is_wanted():
    dit = model()
    replayed = RerunGraphs(dit, settled_chunks=0, records_starts=False)
    prompts = [text(dit)] * 6
    assert_same_stream(stream(replayed, prompts, 0), list(stream(dit, prompts, 0)))
    # one that reads and one that writes, both of a full memory
    assert replayed.num_recordings() == 2


def test_old_recordings_are_dropped():
    dit = model()
    replayed = RerunGraphs(dit, settled_chunks=1, max_signatures=1)
    for _ in stream(replayed, [text(dit)] * 5, 0):
        assert replayed.num_recordings() <= 2


@pytest.mark.parametrize("last_step", [False, True])
def test_recording_at_first_sight_replays_every_chunk_of_the_second_stream(last_step):
    dit = model()
    replayed = RerunGraphs(dit, settled_chunks=0, max_signatures=16)
    prompts = [text(dit)] * 6
    for seed in (0, 500):
        assert_same_stream(
            stream(replayed, prompts, seed, last_step=last_step),
            list(stream(dit, prompts, seed, last_step=last_step)),
        )
        # no memory, and what sink and window hold while they fill up
        assert replayed.num_recordings() == 2 * 3


def test_what_was_dropped_has_to_settle_again():
    dit = model()
    replayed = RerunGraphs(dit, settled_chunks=2, max_signatures=1)
    prompts = [text(dit)] * 6
    shapes = [
        model(SPEC).embed_text(torch.zeros(1, n, 10), torch.ones(1, n, dtype=torch.bool)) for n in (3, 4)
    ]
    *_, (_, state, _) = stream(dit, prompts, 0)
    num_recorded = []
    capture = replayed._capture
    replayed._capture = lambda *given: num_recorded.append(1) or capture(*given)  # type: ignore[method-assign]
    for turn in range(12):
        kept = state.clone()
        replayed(clip(turn), torch.zeros(1, 1), shapes[turn % 2], kept, write=False)
    # without settling again all but the first four turns would record
    assert len(num_recorded) == 4


@pytest.mark.gpu
class TestOnGpu:
    """Real graphs."""

    @pytest.fixture
    def dit(self) -> StreamingDit:
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        return model().to("cuda", torch.bfloat16)

    def run(self, velocity, dit, chunks: int, seed: int = 0) -> list[Tensor]:
        generator = torch.Generator("cuda").manual_seed(seed)
        features = torch.randn(1, 5, 10, generator=generator, device="cuda").bfloat16()
        prompt = dit.embed_text(features, torch.ones(1, 5, dtype=torch.bool, device="cuda"))
        levels = [torch.full((1, 1), level, device="cuda") for level in (*LEVELS, 0.0)]
        inputs = torch.randn(4, 1, 6, 2, 4, 6, generator=generator, device="cuda").bfloat16()
        state, outs = None, []
        for index in range(chunks):
            for step, level in enumerate(levels):
                write = step + 1 == len(levels)
                out, state = velocity(inputs[(index + step) % 4], level, prompt, state, write=write)
                outs.append(out)
            yield outs[-1]

    @torch.inference_mode()
    def test_graphs_give_what_the_model_gives(self, dit):
        replayed = VelocityGraphs(dit)
        for ours, direct in zip(self.run(replayed, dit, 8), self.run(dit, dit, 8), strict=True):
            torch.testing.assert_close(ours, direct, rtol=2e-2, atol=2e-2)
        assert replayed.num_recordings() == 2

    @torch.inference_mode()
    def test_20_chunks_wait_for_nothing_and_grow_nothing(self, dit):
        replayed = VelocityGraphs(dit)
        chunks = self.run(replayed, dit, 30)
        for _ in range(10):
            next(chunks)
        torch.cuda.synchronize()
        before = torch.cuda.memory_stats()["reserved_bytes.all.current"]
        with waiting_is_an_error():
            for _ in range(20):
                next(chunks)
        torch.cuda.synchronize()
        assert torch.cuda.memory_stats()["reserved_bytes.all.current"] == before
