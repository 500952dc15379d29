"""A chunk in several VAE calls is the same chunk, and needs less memory."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tiny_ltx2 import SPEC as VAE_SPEC
from tiny_sana import DIT_SPEC
from toy_model import write_toy_model
from vivace.bench.end_to_end import EndToEndSettings, RandomEditor, live_plan, stream_settings
from vivace.catalog.load import load_pipeline
from vivace.core.errors import ConfigError, StateError
from vivace.layers import rope
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.overlap import CudaLanes, OverlappedEdit
from vivace.pipelines.stream import EditStream
from vivace.pipelines.vae_calls import VaeCalls
from vivace.state.tree import tree_tensors

CPU = torch.device("cpu")
SETTINGS = stream_settings(
    EndToEndSettings(width_px=64, height_px=64, num_denoising_steps=2), live_plan(), seed=3
)


@pytest.fixture(scope="module")
def editor() -> RandomEditor:
    return RandomEditor(CPU, torch.float32, DIT_SPEC, VAE_SPEC)


def film(num_frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, 64, 64, 3), dtype=torch.uint8, generator=generator)


def edit(pipeline: EditPipeline, num_frames: int) -> Tensor:
    stream = pipeline.open("night", SETTINGS)
    return torch.cat([pipeline.step(stream, film(num_frames)), pipeline.step(stream, None)])


@pytest.mark.parametrize("frames_per_call", [1, 2, 3, 7])
def test_any_number_of_frames_a_call_gives_the_same_pictures(editor, frames_per_call):
    whole, cut = (edit(editor.pipeline(number), 50) for number in (None, frames_per_call))
    assert whole.shape == cut.shape == film(50).shape
    # convolutions of other sizes may round otherwise
    assert (whole.int() - cut.int()).abs().max() <= 1


def test_a_vae_that_keeps_its_states_is_cut_too(tmp_path):
    plain = load_pipeline(write_toy_model(tmp_path / "toy"), "cpu", "fp32")
    cut = EditPipeline(plain.vae, plain.dit, plain.prompts, device=CPU, dtype=torch.float32, vae_frames=1)
    settings = replace(SETTINGS, height_px=32, width_px=32)
    pictures = []
    for pipeline in (plain, cut):
        stream = pipeline.open("night", settings)
        pictures.append(
            torch.cat([pipeline.step(stream, film(33)[:, :32, :32]), pipeline.step(stream, None)])
        )
    assert (pictures[0].int() - pictures[1].int()).abs().max() <= 1


def test_states_stay_where_they_are_and_old_ones_are_refused(editor):
    pipeline = editor.pipeline(1)
    stream = pipeline.open("night", SETTINGS)
    pipeline.step(stream, film(17))
    before, next_chunk = stream.memories, stream.next_chunk
    kept = before.clone()
    places = places_of(stream)
    first = pipeline.step(stream, film(24))
    assert places_of(stream) == places
    stream.restore(before, next_chunk)
    with pytest.raises(StateError, match="consumed"):
        pipeline.step(stream, film(24))
    # a clone is as good as ever
    stream.restore(kept, next_chunk)
    assert torch.equal(pipeline.step(stream, film(24)), first)


def test_streams_that_share_calls_are_cut_together(editor):
    pipeline = editor.pipeline(1)
    alone = edit(pipeline, 17)
    streams = [pipeline.open("night", SETTINGS) for _ in range(2)]
    for stream in streams:
        stream.push(film(17))
    parts: list[list[Tensor]] = [[], []]
    while works := [(stream, work) for stream in streams if (work := stream.plan()) is not None]:
        for index, ((stream, _), result) in enumerate(zip(works, pipeline.run(works))):
            stream.advance(result.flight, result.memories)
            parts[index] += [] if result.frames is None else [result.frames]
    for part in parts:
        assert (torch.cat(part).int() - alone.int()).abs().max() <= 1


def test_values_that_are_no_numbers_are_seen_in_every_call(editor, monkeypatch):
    pipeline = editor.pipeline(1)
    stream = pipeline.open("night", SETTINGS)
    decode, calls = Ltx2Vae.decode, []

    def spoiled(vae, latent, state, *, overwrites):
        video, after = decode(vae, latent, state, overwrites=overwrites)
        calls.append(latent.shape[2])
        return (video * float("nan") if len(calls) == 2 else video), after

    monkeypatch.setattr(Ltx2Vae, "decode", spoiled)
    stream.push(film(17))
    results = []
    while (work := stream.plan()) is not None:
        (result,) = pipeline.run([(stream, work)])
        stream.advance(result.flight, result.memories)
        results.append(result.is_finite)
    assert calls == [1, 1, 1]
    assert results[-1] is False


def test_no_frames_a_call_are_refused(editor):
    with pytest.raises(ConfigError, match="at least 1"):
        VaeCalls(editor.pipeline().vae, CPU, torch.float32, 0)


@pytest.mark.gpu
class TestOnGpu:
    """On lanes, with graphs, in bf16."""

    @pytest.mark.parametrize("frames_per_call", [None, 1, 2])
    def test_lanes_give_the_frames_of_the_plain_loop_to_the_bit(self, frames_per_call):
        device = torch.device("cuda")
        on_gpu = RandomEditor(device, torch.bfloat16, DIT_SPEC, VAE_SPEC)
        edits = []
        for lanes in (None, CudaLanes(device)):
            pipeline = on_gpu.pipeline(frames_per_call)
            stream = pipeline.open("night", SETTINGS)
            step = (
                partial(pipeline.step, stream)
                if lanes is None
                else OverlappedEdit(pipeline, stream, lanes).step
            )
            edits.append(torch.cat([step(part) for part in (*film(17 + 24 * 8).split(24), None)]))
        assert torch.equal(*edits)

    def test_what_is_kept_between_works_does_not_grow_and_states_are_overwritten(self):
        device = torch.device("cuda")
        pipeline = RandomEditor(device, torch.bfloat16, DIT_SPEC, VAE_SPEC).pipeline(1)
        stream = pipeline.open("night", SETTINGS)
        pipeline.step(stream, film(17))
        for _ in range(6):
            pipeline.step(stream, film(24))
        before, places = allocated_beside_tables(), places_of(stream)
        for _ in range(4):
            pipeline.step(stream, film(24))
        assert allocated_beside_tables() == before
        assert places_of(stream) == places


def allocated_beside_tables() -> int:
    """Bytes in use on the GPU; rotation tables of the last 64 positions are kept for the next stream."""
    torch.cuda.synchronize()
    rope._table.cache_clear()
    return torch.cuda.memory_allocated()


def places_of(stream: EditStream) -> list[int]:
    """Where the memories of the VAE lie."""
    states = stream.memories.encoder, stream.memories.decoder
    return [tensor.data_ptr() for state in states for _, tensor in tree_tensors(state.peek())]
