"""A loop that overlaps chunks gives the frames of the plain one, and no queue reads ahead of another."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from clock_lanes import CALLER, ClockLanes
from gpu_checks import waiting_is_an_error
from streaming import partitions
from toy_model import write_toy_model
from vivace.catalog.load import build_pipeline, load_pipeline
from vivace.catalog.model_folder import ModelFolder
from vivace.core.grid import ChunkPlan
from vivace.pipelines.edit import EditPipeline, Launched
from vivace.pipelines.overlap import CudaLanes, OverlappedEdit
from vivace.pipelines.stream import CommitMode, EditStream, StreamSettings
from vivace.pipelines.work import Commit, Decode, Denoise, Encode, Work
from vivace.state.tree import tree_tensors

FRAMES = 27


class WatchedPipeline(EditPipeline):
    """Tells the lanes what its networks read and make."""

    def __init__(self, plain: EditPipeline, lanes: ClockLanes) -> None:
        super().__init__(plain.vae, plain.dit, plain.prompts, device=plain.device, dtype=plain.dtype)
        self.lanes = lanes
        self.num_foreign: dict[str, int] = {}

    def launch(self, works: Sequence[tuple[EditStream, Work]]) -> list[Launched]:
        ((stream, work),) = works
        kind = type(work).__name__
        foreign = self.lanes.check_reads(_reads(stream, work))
        self.num_foreign[kind] = self.num_foreign.get(kind, 0) + foreign
        (launched,) = super().launch(works)
        flight = launched.flight
        made = () if flight is None else (flight.latent, flight.source)
        memories = launched.memories
        states = [s.peek() for s in (memories.encoder, memories.dit, memories.decoder) if s is not None]
        frames = () if launched.frames is None else (launched.frames,)
        self.lanes.makes(tensor for _, tensor in tree_tensors((made, tuple(states), frames)))
        return [launched]


def _reads(stream: EditStream, work: Work) -> list[Tensor]:
    flight, memories = stream.in_flight, stream.memories
    state = {Encode: memories.encoder, Decode: memories.decoder}.get(type(work), memories.dit)
    read = {
        Encode: (),
        Denoise: (flight.latent, flight.source, flight.prompt.context),
        Commit: (flight.latent, flight.source, flight.prompt.context),
        Decode: (flight.latent,),
    }[type(work)]
    return [t for _, t in tree_tensors((read, () if state is None else state.peek()))]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> EditPipeline:
    return load_pipeline(write_toy_model(tmp_path_factory.mktemp("toy")), "cpu", "fp32")


@pytest.fixture(scope="module")
def whole(plain) -> Tensor:
    return edit_plainly(plain, settings_of(), film())


def settings_of(commit: CommitMode = "clean_pass") -> StreamSettings:
    return StreamSettings(
        height_px=32, width_px=32, seed=3, sigmas=(1.0, 0.7), commit=commit, plan=ChunkPlan.live(1)
    )


def film(num_frames: int = FRAMES, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, size, size, 3), dtype=torch.uint8, generator=generator)


def edit_plainly(pipeline: EditPipeline, chosen: StreamSettings, frames: Tensor) -> Tensor:
    stream = pipeline.open("make it night", chosen)
    return torch.cat([pipeline.step(stream, frames), pipeline.step(stream, None)])


def overlapped(plain: EditPipeline, chosen: StreamSettings | None = None, max_pending: int = 2):
    lanes = ClockLanes()
    pipeline = WatchedPipeline(plain, lanes)
    stream = pipeline.open("make it night", chosen or settings_of())
    lanes.makes(tensor for _, tensor in tree_tensors(stream.prompt.context))
    return pipeline, stream, OverlappedEdit(pipeline, stream, lanes, max_pending=max_pending)


@given(partitions(FRAMES, 30))
@settings(max_examples=5, deadline=None)
def test_pushes_of_any_size_give_the_frames_of_the_plain_loop(plain, whole, pushes):
    _, _, edit = overlapped(plain)
    parts, start = [], 0
    for size in pushes:
        parts.append(edit.step(film()[start : start + size]))
        start += size
    assert torch.equal(torch.cat([*parts, edit.step(None)]), whole)


@pytest.mark.parametrize("commit", ["clean_pass", "last_step"])
def test_no_lane_reads_ahead_and_each_depends_on_little(plain, commit):
    pipeline, _, edit = overlapped(plain, settings_of(commit))
    edited = torch.cat([edit.step(film()), edit.step(None)])
    assert torch.equal(edited, edit_plainly(plain, settings_of(commit), film()))
    # denoising reads what was encoded, decoding what was denoised: checks that checked nothing would be 0
    assert pipeline.num_foreign["Denoise"] > 0
    assert pipeline.num_foreign["Decode"] == len({0, *range(1, FRAMES, 4)})
    encode, denoise, decode = (pipeline.lanes.clocks[lane] for lane in ("encode", "denoise", "decode"))
    assert encode["denoise"] == encode["decode"] == denoise["decode"] == 0
    # the last chunk is decoded beside its commit
    commits = denoise["denoise"] - decode["denoise"]
    assert commits == (1 if commit == "clean_pass" else 0)


def test_a_missing_wait_is_found_by_this_test(plain, monkeypatch):
    pipeline, _, edit = overlapped(plain)
    monkeypatch.setattr(pipeline.lanes, "wait", lambda lane, mark: None)
    with pytest.raises(AssertionError, match="denoise reads ahead of encode"):
        edit.step(film())


def test_a_step_waits_only_where_too_many_chunks_are_under_way(plain):
    pipeline, _, edit = overlapped(plain, max_pending=2)
    sizes, start = [], 0
    for num_frames in (1, 4, 4, 4):
        sizes.append(len(edit.step(film()[start : start + num_frames])))
        start += num_frames
    assert sizes == [0, 0, 1, 4]
    # marks that are reached are taken without waiting
    for mark in pipeline.lanes.marks:
        mark.is_reached = True
    assert len(edit.step(film()[:0])) == 8
    assert len(edit.drain()) == 0
    edit.step(film()[start : start + 4])
    assert len(edit.drain()) == 4


def test_what_was_restored_and_a_new_prompt_are_waited_for(plain, whole):
    pipeline, stream, edit = overlapped(plain)
    before = torch.cat([edit.step(film()[:9]), edit.drain()])
    edit.join()
    kept, next_chunk = stream.memories.clone(), stream.next_chunk
    clock = pipeline.lanes.clocks[CALLER]
    assert all(clock[lane] == pipeline.lanes.clocks[lane][lane] for lane in ("encode", "denoise", "decode"))
    first = torch.cat([edit.step(film()[9:17]), edit.drain()])
    restored = kept.clone()
    parts = [part.peek() for part in (restored.encoder, restored.dit, restored.decoder) if part is not None]
    pipeline.lanes.makes(tensor for _, tensor in tree_tensors(tuple(parts)))
    stream.restore(restored, next_chunk)
    again = torch.cat([edit.step(film()[9:17]), edit.drain()])
    assert torch.equal(again, first)
    assert torch.equal(torch.cat([before, first]), whole[:17])


def test_a_call_that_fails_can_be_tried_again(plain, whole, monkeypatch):
    _, _, edit = overlapped(plain)
    parts = [edit.step(film()[:9])]
    with monkeypatch.context() as patch:
        patch.setattr(type(plain.vae), "decode", lambda *_: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            edit.step(film()[9:])
    assert torch.equal(torch.cat([*parts, edit.step(film()[:0]), edit.step(None)]), whole)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ModelFolder.at(write_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.mark.gpu
class TestOnGpu:
    """CUDA streams as lanes."""

    @pytest.mark.parametrize("graphs", ["off", "dit", "all"])
    def test_the_frames_are_those_of_the_plain_loop_to_the_bit(self, folder, graphs):
        edits = []
        for lanes in (None, CudaLanes(torch.device("cuda"))):
            # recordings of its own for each, so that the same calls are replayed
            pipeline = build_pipeline(folder, "cuda", "fp32", graphs=graphs)
            stream = pipeline.open("make it night", settings_of())
            step = (
                OverlappedEdit(pipeline, stream, lanes).step
                if lanes
                else lambda x, p=pipeline, s=stream: p.step(s, x)
            )
            edits.append(torch.cat([step(part) for part in (*film(161).split(5), None)]))
        assert torch.equal(*edits)

    def test_a_settled_stream_waits_for_nothing_but_its_frames_and_hardly_grows(self, folder):
        pipeline = build_pipeline(folder, "cuda", "bf16")
        stream = pipeline.open("make it night", settings_of())
        edit = OverlappedEdit(pipeline, stream, CudaLanes(pipeline.device))
        frames = film(4)
        edit.step(frames[:1])
        for _ in range(12):
            edit.step(frames)
        edit.drain()
        torch.cuda.synchronize()
        before = torch.cuda.memory_stats()["reserved_bytes.all.current"]
        with waiting_is_an_error():
            for _ in range(20):
                edit.step(frames)
        edit.drain()
        torch.cuda.synchronize()
        # a segment more or less, as memory comes back only once the other lanes have read it
        assert torch.cuda.memory_stats()["reserved_bytes.all.current"] <= before + 4 * 2**20
