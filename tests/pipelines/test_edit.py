from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from streaming import partitions
from toy_model import write_toy_model
from vivace.catalog.load import load_pipeline
from vivace.core.errors import ConfigError, InputError, StateError
from vivace.core.grid import ChunkPlan
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.stream import EditStream, StreamSettings
from vivace.pipelines.work import Commit, Decode, Denoise, Encode

HEIGHT, WIDTH, FRAMES = 32, 32, 15


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> EditPipeline:
    folder = write_toy_model(tmp_path_factory.mktemp("toy"))
    return load_pipeline(folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def whole(pipeline) -> Tensor:
    return edit(pipeline, pipeline.open("make it night", settings_of()), film())


def settings_of(seed: int = 0, commit="clean_pass", plan: ChunkPlan | None = None) -> StreamSettings:
    return StreamSettings(
        height_px=HEIGHT,
        width_px=WIDTH,
        seed=seed,
        sigmas=(1.0, 0.7),
        commit=commit,
        plan=plan or ChunkPlan.live(1),
    )


def film(num_frames: int = FRAMES, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator)


def edit(
    pipeline: EditPipeline, stream: EditStream, frames: Tensor, pushes: list[int] | None = None
) -> Tensor:
    parts, start = [], 0
    for size in pushes or [len(frames)]:
        parts.append(pipeline.step(stream, frames[start : start + size]))
        start += size
    return torch.cat([*parts, pipeline.step(stream, None)])


@given(partitions(FRAMES, 40))
@settings(max_examples=8, deadline=None)
def test_pushes_of_any_size_give_the_same_frames_to_the_bit(pipeline, whole, pushes):
    cut = edit(pipeline, pipeline.open("make it night", settings_of()), film(), pushes)
    assert whole.shape == film().shape
    assert torch.equal(whole, cut)


@pytest.mark.parametrize("num_frames", [1, 2, 6])
def test_every_source_frame_comes_back_and_padding_is_dropped(pipeline, num_frames):
    for plan in (ChunkPlan.live(1), ChunkPlan.live(2), ChunkPlan.live(3, first_chunk_frames=2)):
        stream = pipeline.open("night", settings_of(plan=plan))
        assert len(edit(pipeline, stream, film(num_frames))) == num_frames


def test_padding_at_the_end_does_not_change_earlier_frames(pipeline):
    long = edit(pipeline, pipeline.open("night", settings_of()), film())
    short = edit(pipeline, pipeline.open("night", settings_of()), film()[:11])
    assert torch.equal(short[:9], long[:9])


def test_work_comes_in_the_order_of_a_chunk(pipeline):
    stream = pipeline.open("night", settings_of())
    stream.push(film(5))
    kinds = []
    while (work := stream.plan()) is not None:
        kinds.append(type(work))
        (result,) = pipeline.run([(stream, work)])
        stream.advance(result.flight, result.memories)
    assert kinds == [Encode, Denoise, Denoise, Commit, Decode] * 2


def test_a_step_from_pure_noise_commits_nothing(pipeline):
    edits = []
    for commit in ("last_step", "clean_pass"):
        one_step = replace(settings_of(commit=commit), sigmas=(1.0,))
        edits.append(edit(pipeline, pipeline.open("night", one_step), film()))
    assert torch.equal(*edits)


def test_committing_on_the_last_step_saves_a_call_and_gives_other_frames(pipeline):
    clean = edit(pipeline, pipeline.open("night", settings_of()), film())
    stream = pipeline.open("night", settings_of(commit="last_step"))
    stream.push(film(1))
    kinds = []
    while (work := stream.plan()) is not None:
        kinds.append(type(work))
        (result,) = pipeline.run([(stream, work)])
        stream.advance(result.flight, result.memories)
    assert kinds == [Encode, Denoise, Denoise, Decode]
    last = edit(pipeline, pipeline.open("night", settings_of(commit="last_step")), film())
    assert torch.equal(last[:1], clean[:1])
    assert not torch.equal(last, clean)


def test_a_prompt_change_takes_effect_at_the_next_chunk_and_not_before(pipeline):
    plain = edit(pipeline, pipeline.open("make it night", settings_of()), film())
    stream = pipeline.open("make it night", settings_of())
    stream.push(film()[:9])
    first = stream.plan()
    assert isinstance(first, Encode)
    stream.prompt = pipeline.encode_prompt("draw it with a pencil")
    changed = torch.cat([pipeline.step(stream, film()[9:]), pipeline.step(stream, None)])
    # the chunk in flight (raw frame 0) keeps its prompt, the next one (raw frames 1 to 4) has the new one
    assert torch.equal(changed[:1], plain[:1])
    assert not torch.equal(changed[1:5], plain[1:5])


def test_streams_served_together_equal_streams_served_alone(pipeline):
    prompts = ["make it night", "paint it red"]
    alone = [edit(pipeline, pipeline.open(p, settings_of(i)), film(seed=i)) for i, p in enumerate(prompts)]
    streams = [pipeline.open(p, settings_of(i)) for i, p in enumerate(prompts)]
    done: list[list[Tensor]] = [[], []]
    for i, stream in enumerate(streams):
        stream.push(film(seed=i))
        stream.finish()
    while any(works := [stream.plan() for stream in streams]):
        pairs = [(stream, work) for stream, work in zip(streams, works) if work is not None]
        for (stream, _), result in zip(pairs, pipeline.run(pairs)):
            stream.advance(result.flight, result.memories)
            if result.frames is not None:
                done[streams.index(stream)].append(result.frames)
    for i in range(2):
        difference = torch.cat(done[i]).int() - alone[i].int()
        # batched matrix products may round differently by one level
        assert difference.abs().max() <= 1


def test_a_second_stream_changes_nothing_and_a_new_stream_is_fresh(pipeline):
    alone = edit(pipeline, pipeline.open("night", settings_of()), film())
    stream, other = pipeline.open("night", settings_of()), pipeline.open("red", settings_of(7))
    parts = []
    for start in range(0, FRAMES, 4):
        parts.append(pipeline.step(stream, film()[start : start + 4]))
        pipeline.step(other, film(seed=9)[start : start + 4])
    assert torch.equal(torch.cat([*parts, pipeline.step(stream, None)]), alone)
    assert torch.equal(edit(pipeline, pipeline.open("night", settings_of()), film()), alone)


def test_a_stream_can_be_rewound_to_a_clone_of_its_memories(pipeline):
    stream = pipeline.open("night", settings_of())
    pipeline.step(stream, film()[:9])
    kept, next_chunk = stream.memories.clone(), stream.next_chunk
    first = pipeline.step(stream, film()[9:13])
    stream.restore(kept.clone(), next_chunk)
    assert torch.equal(pipeline.step(stream, film()[9:13]), first)


def test_a_consumed_memory_is_refused(pipeline):
    stream = pipeline.open("night", settings_of())
    pipeline.step(stream, film()[:5])
    stale, next_chunk = stream.memories, stream.next_chunk
    pipeline.step(stream, film()[5:9])
    stream.restore(stale, next_chunk)
    with pytest.raises(StateError, match="consumed"):
        pipeline.step(stream, film()[5:9])


def test_a_call_that_fails_can_be_tried_again(pipeline, monkeypatch):
    whole = edit(pipeline, pipeline.open("night", settings_of()), film(9))
    stream = pipeline.open("night", settings_of())
    parts = [pipeline.step(stream, film(9)[:5])]
    for method in ("encode", "decode"):
        with monkeypatch.context() as patch:
            patch.setattr(type(pipeline.vae), method, lambda *_: (_ for _ in ()).throw(MemoryError))
            with pytest.raises(MemoryError):
                pipeline.step(stream, film(9)[5:] if method == "encode" else film(0))
    parts.append(pipeline.step(stream, film(0)))
    assert torch.equal(torch.cat([*parts, pipeline.step(stream, None)]), whole)


def test_the_same_seed_repeats_and_another_seed_differs(pipeline):
    runs = [edit(pipeline, pipeline.open("night", settings_of(seed)), film(9)) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_bad_frames_and_sizes_are_refused_in_one_sentence(pipeline):
    stream = pipeline.open("night", settings_of())
    with pytest.raises(InputError, match="expected uint8"):
        stream.push(film()[:, :16])
    with pytest.raises(InputError, match="expected uint8"):
        stream.push(film().float())
    stream.finish()
    with pytest.raises(InputError, match="finished"):
        stream.push(film())
    with pytest.raises(ConfigError, match="divisible"):
        pipeline.open("night", StreamSettings(**{**_fields(settings_of()), "height_px": 40}))
    with pytest.raises(InputError):
        pipeline.open("   ", settings_of())


def _fields(settings: StreamSettings) -> dict:
    return {name: getattr(settings, name) for name in settings.__slots__}
