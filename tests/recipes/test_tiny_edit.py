import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vivace.catalog.model_folder import BUNDLED
from vivace.core.errors import ConfigError
from vivace.core.falling_noise import WEATHER
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import SNOW, EditFamily, make_pair
from vivace.data.local_families import LOCAL_GROUPS, rivals_of
from vivace.data.training_pairs import ALL
from vivace.diffusion.noise import stream_noise
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.perceptual import Lpips
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import StreamingDit, hybrid_mixers
from vivace.models.video_vae import VideoVae
from vivace.recipes.clip_sampling import OwnMemory, stream_clip
from vivace.recipes.edit_pool import EditPoolConfig, EditPools, draw_rows
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank, WordsObjective
from vivace.recipes.tiny_edit import EditObjective, grown, tiny_edit_run, tiny_edit_spec
from vivace.recipes.tiny_edit_student import StudentObjective, _frames_of, _looked_at, student_run
from vivace.training.edit_flow import edit_flow_step
from vivace.training.trainer import Trainer

POOL = EditPoolConfig(
    num_pairs=4,
    clips_per_family=1,
    batch=2,
    steps_per_pool=3,
    num_raw_frames=9,
    height_px=64,
    width_px=96,
    pair_share=0.2,
    local_share=0.4,
)


@pytest.fixture(scope="module")
def vae() -> VideoVae:
    return VideoVae.load(BUNDLED / "video_vae").requires_grad_(False)


@pytest.fixture(scope="module")
def clips() -> ClipStore:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 12, 16, 3), dtype=np.uint8)
    return ClipStore([("noise", "clip", coarse.repeat(8, 1).repeat(8, 2))])


def editor() -> InstructedEditor:
    prompts = PromptEncoder.load(BUNDLED / "prompt_encoder").float()
    spec = replace(tiny_edit_spec(48, prompts.spec.dim), dim=32, num_heads=2)
    torch.manual_seed(0)
    return InstructedEditor(StreamingDit(spec), prompts)


@pytest.fixture(scope="module")
def bank() -> InstructionBank:
    return InstructionBank.build(editor().prompts, 4, 0)


def short(run, steps: int = 2):
    return replace(run, trainer=replace(run.trainer, num_train_steps=steps, budget_minutes=None), pool=POOL)


def test_a_pool_is_a_function_of_seed_and_index(vae, clips):
    first, second = (EditPools(POOL, clips, vae, 3) for _ in range(2))
    a, b, c = first.pool(0), second.pool(0), first.pool(1)
    assert torch.equal(a.target, b.target)
    assert torch.equal(a.falling, b.falling)
    assert a.families == b.families
    assert not torch.equal(a.source, c.source)
    assert a.weight.shape == (4, 1, 3, 4, 6)
    assert a.weight.min() == 1
    assert a.region.shape == (4, 1, 9, 64, 96)


def test_what_stands_out_counts_more_where_it_is(vae, clips):
    pools = EditPools(
        replace(POOL, num_pairs=12, pair_share=0, local_share=0.5, reverse_share=0), clips, vae, 1
    )
    pool = pools.pool(0)
    for family, weight, region in zip(pool.families, pool.weight, pool.region):
        is_local = any(family in group for group in LOCAL_GROUPS)
        falls = isinstance(family, EditFamily) and family.edit.particles is not None
        assert (region.max() > 0) == (weight.max() > 1) == (is_local or falls), family.name
        if is_local:
            assert weight[:, 1:].max() == 5
            seen = F.adaptive_max_pool3d((region[:, 1:] > 0).float(), weight[:, 1:].shape[1:])
            assert torch.equal(weight[:, 1:] > 1, seen > 0)
    assert sum(f in LOCAL_GROUPS[0] for f in pool.families) > 0


def test_an_editor_grows_into_another_spec_and_starts_as_what_it_was():
    old, wide = editor(), tiny_edit_spec(48, 192)
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=4, max_distance_frames=8)
    narrow = replace(old.dit.spec, place_octaves=0, mixers=hybrid_mixers(6, 2, GdnSpec(), softmax))
    small = InstructedEditor(StreamingDit(narrow), old.prompts)
    torch.nn.init.normal_(small.dit.final.weight, std=0.02)
    new = grown(small, replace(wide, dim=32, num_heads=2))
    x, sigma = torch.randn(1, 96, 1, 4, 6), torch.tensor([[0.5]])
    text = small.dit.embed_text(torch.randn(1, 3, 192), torch.ones(1, 3, dtype=torch.bool))
    assert torch.equal(*(each.dit(x, sigma, text, write=False)[0] for each in (small, new)))
    with pytest.raises(RuntimeError, match="size mismatch"):
        grown(small, wide)


def test_flakes_lie_where_the_noise_of_the_same_seed_says():
    """What makes snow learnable: target particles are a function of the noise the model gets."""
    video = torch.zeros(1, 3, 9, 192, 320)
    snow = make_pair(video, SNOW, seed=5) - SNOW.edit.base(video)
    noise = stream_noise(5, 0, 3, 48, (12, 20), WEATHER)[0]
    present = torch.special.ndtr(noise[0, 2]) < 0.45
    cells = snow[0, 0, 8].view(12, 16, 20, 16).amax((1, 3)) > 0.05
    near = torch.special.ndtr(noise[4, 2]) < 0.16
    assert torch.equal(cells, present | near)


@pytest.mark.parametrize("stage", ["teacher", "causal", "objects"])
def test_a_stage_trains_exports_and_is_read_back(stage, vae, clips, bank, tmp_path: Path):
    model = editor()
    run = tiny_edit_run(stage, model.dit.spec, 1.0, 2)
    run = short(replace(run, flow=replace(run.flow, first_chunk_frames=3 if stage == "teacher" else 1)))
    words = WordsObjective(run.words, model.prompts, torch.device("cpu"))
    objective = EditObjective(run, EditPools(POOL, clips, vae, 0), bank, words)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    trainer = Trainer(run.trainer, model, objective, tmp_path / "run", run, "cpu")
    assert trainer.fit().is_finished
    for part in ("dit.final.weight", "prompts.position", "family_head.weight"):
        assert not torch.equal(before[part], model.state_dict()[part]), part
    model.export(trainer.inference_weights(), tmp_path / "weights")
    again = InstructedEditor.load(tmp_path / "weights")
    assert again.dit.spec == model.dit.spec
    averaged = trainer.inference_weights()["family_head.weight"]
    assert torch.equal(again.family_head.weight, averaged)
    assert torch.equal(grown(again, model.dit.spec).family_head.weight, averaged)
    for path in (tmp_path / "weights").glob("head-*"):
        path.unlink()
    assert not torch.equal(InstructedEditor.load(tmp_path / "weights").family_head.weight, averaged)
    assert torch.equal(again.prompts.position, trainer.inference_weights()["prompts.position"].half().float())


def test_twins_are_two_edits_of_one_scene(vae, clips):
    config = replace(
        POOL, clips_per_family=2, pair_share=0, local_share=1.0, local_weights=(0, 1, 1, 0), reverse_share=0
    )
    pool = EditPools(replace(config, num_pairs=12, twin_share=1.0), clips, vae, 3).pool(0)
    named = 0
    for first in range(0, 12, 2):
        a, b = pool.families[first : first + 2]
        same = torch.equal(pool.source[first], pool.source[first + 1])
        assert same == (a is not b)
        if same:
            named += 1
            assert a in rivals_of(b)
            assert not torch.equal(pool.target[first], pool.target[first + 1])
    assert named >= 3
    alone = EditPools(replace(config, num_pairs=12), clips, vae, 3).pool(0)
    assert all(alone.families[i] is alone.families[i + 1] for i in range(0, 12, 2))


def test_twins_come_together_and_from_the_same_noise(vae, clips, bank, monkeypatch):
    config = replace(POOL, clips_per_family=2, num_pairs=6, batch=4, twin_share=0.5)
    for seed in range(5):
        rows = draw_rows(config, random.Random(seed))
        assert len(set(rows)) == 4
        assert all(twin == first + 1 and first % 2 == 0 for first, twin in zip(rows[::2], rows[1::2]))
    with pytest.raises(ConfigError, match="whole families"):
        draw_rows(replace(config, num_pairs=7), random.Random(0))
    model, steps = editor(), Spied(edit_flow_step)
    run = replace(short(student_run(1.0, 2)), pool=config, num_decoded=1, perceptual_frames=2)
    monkeypatch.setattr("vivace.recipes.tiny_edit_student.edit_flow_step", steps)
    StudentObjective(run, EditPools(config, clips, vae, 0), bank, None, Lpips())(model, 0, 0)
    falling = sum(group.num_channels for group in WEATHER)
    noise = steps.given[0][1].noise[:, falling:]
    same = [[torch.equal(a, b) for b in noise] for a in noise]
    assert [sum(row) for row in same] == [2, 2, 2, 2]
    plain = tiny_edit_run("objects", model.dit.spec, 1.0, 2)
    objective = EditObjective(replace(plain, pool=config), EditPools(config, clips, vae, 0), bank, None)
    made = objective._batch(model, 0, random.Random(0), torch.Generator().manual_seed(0)).noise[:, falling:]
    assert torch.equal(made[::2], made[1::2])
    assert not torch.equal(made[0], made[2])


def test_the_object_that_stays_stands_out_where_all_else_changes(vae, clips):
    config = replace(POOL, pair_share=0, local_share=1.0, reverse_share=0, local_weights=(0, 0, 0, 1))
    pool = EditPools(config, clips, vae, 2).pool(0)
    assert pool.weight.max() == 5
    share = (pool.region > 127).float().mean((1, 2, 3, 4))
    assert ((share > 0) & (share < 0.5)).all()


@pytest.mark.parametrize("is_taught", [True, False])
def test_the_student_learns_from_pictures_and_its_own_memory(is_taught, vae, clips, bank, tmp_path: Path):
    model, teacher = editor(), editor() if is_taught else None
    run = short(student_run(1.0, 2))
    run = replace(run, teacher_steps=2, num_decoded=1, perceptual_frames=2)
    lpips = Lpips()
    objective = StudentObjective(run, EditPools(POOL, clips, vae, 0), bank, teacher, lpips)
    model.prompts.requires_grad_(False)
    result = Trainer(run.trainer, model, objective, tmp_path / "run", run, "cpu").fit()
    assert result.is_finished
    assert {"high", "low", "lpips", "pixel", "motion"} <= set(result.final_parts)


class Spied:
    """Stands before a pure function and keeps what it was given."""

    def __init__(self, function) -> None:
        self.function = function
        self.given: list[tuple] = []

    def __call__(self, *given):
        self.given.append(given)
        return self.function(*given)


def test_memory_is_made_of_still_noise_and_every_step_says_it_in_other_words(vae, clips, bank, monkeypatch):
    model, run = editor(), short(student_run(1.0, 2))
    run = replace(run, num_decoded=1, perceptual_frames=2, own_draft_share=0.0)
    objective = StudentObjective(run, EditPools(POOL, clips, vae, 0), bank, None, Lpips())
    steps = Spied(edit_flow_step)
    monkeypatch.setattr("vivace.recipes.tiny_edit_student.edit_flow_step", steps)
    objective._own_memory = memory = Spied(OwnMemory(model))
    for train_step in range(3):
        objective(model, train_step, 0)
    assert len(memory.given) == 1
    noise, falling = memory.given[0][0], sum(group.num_channels for group in WEATHER)
    assert torch.equal(noise[:, falling:], noise[:, falling:, :1].expand(-1, -1, 3, -1, -1))
    assert not torch.equal(noise[:, :falling, 0], noise[:, :falling, 1])
    for _, batch, *_ in steps.given:
        assert not torch.equal(batch.noise[:, falling:, 0], batch.noise[:, falling:, 1])
        assert any(torch.equal(batch.noise[0, :falling], each[:falling]) for each in noise)
    # two clips a step out of four: in three steps some clip comes twice
    texts = {
        tuple(row.flatten().tolist()): clip.sum().item()
        for _, batch, *_ in steps.given
        for row, clip in zip(batch.text.detach(), batch.source)
    }
    assert len(texts) > len(set(texts.values()))


def test_pictures_are_judged_behind_what_would_come_before_them(vae, clips, bank):
    model, run = editor(), short(student_run(1.0, 2))
    run = replace(run, own_memory_share=1.0, pool=replace(POOL, switch_share=0.0))
    objective = StudentObjective(run, EditPools(POOL, clips, vae, 0), bank, None, Lpips())
    prepared = objective._prepare(model, 0)
    batch, around = objective._batch(model, prepared, random.Random(0))
    assert torch.equal(around.shown, batch.memory)
    assert not torch.equal(batch.memory, batch.target)
    switched = replace(run, pool=replace(POOL, switch_share=1.0))
    objective.run = switched
    batch, around = objective._batch(model, prepared, random.Random(0))
    assert torch.equal(around.shown, batch.target)
    assert not torch.equal(batch.memory, batch.target)


def test_a_share_of_the_noisy_frames_is_what_the_student_made(vae, clips, bank):
    model, run = editor(), short(student_run(1.0, 2))
    torch.nn.init.normal_(model.dit.final.weight, std=0.02)
    objective = StudentObjective(run, EditPools(POOL, clips, vae, 0), bank, None, Lpips())
    prepared = objective._prepare(model, 0)
    for share, wanted in ((0.0, prepared.pool.target), (1.0, prepared.own)):
        objective.run = replace(run, own_draft_share=share)
        batch, _ = objective._batch(model, prepared, random.Random(0))
        assert all(any(torch.equal(draft, each) for each in wanted) for draft in batch.draft)
        # drafts get the noise that they were made from
        given = prepared.served_noise if share else prepared.noise
        assert all(any(torch.equal(noise, each) for each in given) for noise in batch.noise)
        assert all(any(torch.equal(target, each) for each in prepared.pool.target) for target in batch.target)


def test_what_stands_out_comes_first_among_the_compared_pictures(vae, clips, bank):
    model, run = editor(), short(student_run(1.0, 2))
    run = replace(run, pool=replace(POOL, num_pairs=6, batch=4), num_regions_decoded=2)
    objective = StudentObjective(run, EditPools(run.pool, clips, vae, 0), bank, None, Lpips())
    prepared = replace(objective._prepare(model, 0), stands_out=(False, False, True, False, True, True))
    for seed in range(8):
        batch, _ = objective._batch(model, prepared, random.Random(seed))
        chosen = [
            next(i for i, each in enumerate(prepared.pool.source) if torch.equal(each, source))
            for source in batch.source
        ]
        assert len(set(chosen)) == 4
        found = [prepared.stands_out[i] for i in chosen]
        first = min(2, sum(found))
        assert found[:first] == [True] * first


def test_pictures_under_training_are_looked_at_first():
    is_noisy = torch.tensor([[True, False, True, False], [False, False, False, True]])
    generator = torch.Generator().manual_seed(0)
    frames = _looked_at(is_noisy, 13, 5, generator)
    assert set(frames[0].tolist()) == {0, 5, 6, 7, 8}
    assert {9, 10, 11, 12} < set(frames[1].tolist())
    video = torch.arange(2 * 3 * 13.0).view(2, 3, 13, 1, 1)
    assert torch.equal(_frames_of(video, frames)[1, 2], video[1, 2, frames[1]])


@pytest.mark.parametrize("commit", ["clean_pass", "last_step"])
def test_streaming_a_clip_is_what_the_pipeline_does(commit, vae, clips, bank):
    """The rollout of the recipe and the served sampler are the same function."""
    from vivace.catalog.sampling import editing_sigmas
    from vivace.core.grid import ChunkPlan
    from vivace.pipelines.edit import EditPipeline
    from vivace.pipelines.stream import StreamSettings

    model = editor()
    torch.nn.init.normal_(model.dit.final.weight, std=0.02)
    words = "make it a snowy night"
    frames = (clips.sample(0, 1, 9, 64, 96)[0].permute(1, 2, 3, 0) * 255).round().to(torch.uint8)
    pipeline = EditPipeline(
        vae,
        model.dit,
        model.prompts,
        device=torch.device("cpu"),
        dtype=torch.float32,
        falling_noise=WEATHER,
    )
    settings = StreamSettings(
        height_px=64,
        width_px=96,
        seed=4,
        sigmas=editing_sigmas(2),
        commit=commit,
        plan=ChunkPlan.live(1),
    )
    stream = pipeline.open(words, settings)
    served = torch.cat([pipeline.step(stream, frames), pipeline.step(stream, None)])
    video = frames.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    source, _ = vae.encode(video, None)
    noise = stream_noise(4, 0, 3, 48, (4, 6), WEATHER)
    latent = stream_clip(model, noise, source, [model.prompts.tokenize(words)], editing_sigmas(2), commit)
    decoded = ((vae.decode(latent, None)[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    difference = (decoded[0].permute(1, 2, 3, 0).int() - served.int()).abs()
    assert difference.max() <= 1


@pytest.mark.parametrize("commit", ["clean_pass", "last_step"])
def test_own_memory_follows_the_weights_that_are_trained(commit, vae, clips):
    model = editor()
    torch.nn.init.normal_(model.dit.final.weight, std=0.02)
    own = OwnMemory(model)
    generator = torch.Generator().manual_seed(0)
    noise, source = (torch.randn(2, 48, 3, 4, 6, generator=generator) for _ in range(2))
    ids = [model.prompts.tokenize(words) for words in ("make it snow", "neon outlines")]
    for _ in range(2):
        given = noise, source, ids, (1.0, 0.7), commit
        made, plain = own(*given), stream_clip(model, *given)
        assert (made - plain).norm() / plain.norm() < 0.02
        assert not made.is_inference()
        torch.nn.init.normal_(model.dit.final.weight, std=0.05)


def test_every_family_has_sentences(bank):
    assert set(bank.sentences) == {family.name for family in ALL}
