"""A pipeline whose calls are replayed gives the frames of one whose calls are not."""

import pytest
import torch
from torch import Tensor

from graph_stand_ins import RerunGraphs, RerunSteps
from toy_model import write_toy_model
from vivace.catalog.load import find_folder, load_networks, load_pipeline
from vivace.core.errors import ConfigError, StateError
from vivace.core.grid import ChunkPlan
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.stream import StreamSettings
from vivace.pipelines.vae_graphs import GraphedVae
from vivace.state.tree import tree_tensors

SETTINGS = StreamSettings(
    height_px=32, width_px=32, seed=3, sigmas=(1.0, 0.7), commit="clean_pass", plan=ChunkPlan.live(1)
)
FRAMES = 33


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> EditPipeline:
    """As on a GPU: without the packed weights that CPUs get."""
    device, folder = torch.device("cpu"), find_folder(write_toy_model(tmp_path_factory.mktemp("toy")))
    networks = load_networks(folder, device, torch.float32)
    return EditPipeline(networks.vae, networks.dit, networks.prompts, device=device, dtype=torch.float32)


@pytest.fixture
def replayed(plain) -> EditPipeline:
    return EditPipeline(
        GraphedVae(plain.vae, RerunSteps),
        plain.dit,
        plain.prompts,
        device=plain.device,
        dtype=plain.dtype,
        graphs=RerunGraphs(plain.dit),
    )


def film(seed: int = 0, num_frames: int = FRAMES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 32, 32, 3), dtype=torch.uint8, generator=generator)


def edit(pipeline: EditPipeline, frames: Tensor) -> Tensor:
    stream = pipeline.open("make it night", SETTINGS)
    return torch.cat([pipeline.step(stream, frames), pipeline.step(stream, None)])


def test_replayed_calls_give_the_same_frames_and_memories(plain, replayed):
    streams = [pipeline.open("make it night", SETTINGS) for pipeline in (plain, replayed)]
    edits = [pipeline.step(stream, film()) for pipeline, stream in zip((plain, replayed), streams)]
    assert torch.equal(*edits)
    memories = [
        [part.peek() for part in (m.encoder, m.dit, m.decoder)] for m in (each.memories for each in streams)
    ]
    pairs = list(zip(*(tree_tensors(tuple(each)) for each in memories), strict=True))
    assert len(pairs) > 10
    assert all(torch.equal(a, b) for (_, a), (_, b) in pairs)
    assert replayed.graphs.num_recordings() == 2
    assert replayed.vae._encode.num_recordings() == replayed.vae._decode.num_recordings() == 1


def test_recording_at_first_sight_gives_the_same_frames(plain):
    replayed = EditPipeline(
        GraphedVae(plain.vae, RerunSteps, settled_calls=0, max_recordings=8),
        plain.dit,
        plain.prompts,
        device=plain.device,
        dtype=plain.dtype,
        graphs=RerunGraphs(plain.dit, settled_chunks=0, max_signatures=8),
    )
    for seed in (0, 1):
        assert torch.equal(edit(replayed, film(seed)), edit(plain, film(seed)))
        # the first call of a stream and all others
        assert replayed.vae._encode.num_recordings() == replayed.vae._decode.num_recordings() == 2


def test_a_stream_is_rewound_to_a_clone_and_goes_on_the_same_way(replayed):
    stream = replayed.open("make it night", SETTINGS)
    replayed.step(stream, film()[:21])
    kept, next_chunk, stale = stream.memories.clone(), stream.next_chunk, stream.memories
    # another stream uses the same recordings meanwhile
    edit(replayed, film(9))
    first = replayed.step(stream, film()[21:29])
    stream.restore(kept.clone(), next_chunk)
    assert torch.equal(replayed.step(stream, film()[21:29]), first)
    stream.restore(stale, next_chunk)
    with pytest.raises(StateError, match="consumed"):
        replayed.step(stream, film()[21:29])


def test_calls_that_streams_share_are_not_replayed(replayed):
    streams = [replayed.open("make it night", SETTINGS) for _ in range(2)]
    for stream in streams:
        stream.push(film())
    while works := [(stream, work) for stream in streams if (work := stream.plan()) is not None]:
        for (stream, _), result in zip(works, replayed.run(works)):
            stream.advance(result.flight, result.memories)
    assert replayed.graphs.num_recordings() == 0


def test_graphs_of_another_model_are_refused(plain, tmp_path):
    folder = find_folder(write_toy_model(tmp_path / "other"))
    other = load_networks(folder, plain.device, torch.float32)
    with pytest.raises(ConfigError, match="of another model"):
        EditPipeline(
            plain.vae,
            plain.dit,
            plain.prompts,
            device=plain.device,
            dtype=plain.dtype,
            graphs=RerunGraphs(other.dit),
        )


def test_packed_weights_are_refused(tmp_path):
    packed = load_pipeline(write_toy_model(tmp_path / "toy"), "cpu", "fp32")
    with pytest.raises(ConfigError, match="packed"):
        RerunGraphs(packed.dit)


def test_recordings_of_steps_follow_their_shapes_and_are_dropped_when_there_are_many(plain):
    steps = RerunSteps(plain.vae.encode, settled_calls=1, max_recordings=1)
    for _ in range(2):
        for size in (32, 48):
            frames = torch.rand(1, 3, 5, size, size) * 2 - 1
            state, expected_state = None, None
            for start, stop in ((0, 1), (1, 5), (1, 5), (1, 5)):
                latent, state = steps(frames[:, :, start:stop], state)
                with torch.inference_mode():
                    expected, expected_state = plain.vae.encode(frames[:, :, start:stop], expected_state)
                assert torch.equal(latent, expected)
            assert steps.num_recordings() == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.mark.gpu
class TestOnGpu:
    """Real graphs."""

    def test_every_choice_of_graphs_gives_the_same_pictures(self, folder):
        from vivace.catalog.load import build_pipeline
        from vivace.catalog.model_folder import ModelFolder

        edits = [
            edit(build_pipeline(ModelFolder.at(folder), "cuda", "bf16", graphs=graphs), film()).float()
            for graphs in ("off", "dit", "all")
        ]
        for replayed in edits[1:]:
            assert (replayed - edits[0]).abs().mean() < 0.5

    def test_a_settled_stream_replays_and_keeps_its_snapshots(self, folder):
        pipeline = load_pipeline(folder, "cuda", "bf16")
        stream = pipeline.open("make it night", SETTINGS)
        pipeline.step(stream, film()[:25])
        assert pipeline.graphs is not None
        # every filling of the memory, without and with writing it
        assert pipeline.graphs.num_recordings() == 2 * 4
        kept, next_chunk = stream.memories.clone(), stream.next_chunk
        first = pipeline.step(stream, film()[25:33])
        stream.restore(kept.clone(), next_chunk)
        assert torch.equal(pipeline.step(stream, film()[25:33]), first)
