from dataclasses import replace

import pytest
import torch

from vivace.core.errors import ConfigError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.training.clip_velocity import ClipVelocity
from vivace.training.edit_flow import EditBatch, EditFlowConfig, edit_flow_loss, edit_flow_step, flow_error

CONFIG = EditFlowConfig(served_sigmas=(1.0, 0.5), served_share=0.5)


def tiny_dit() -> StreamingDit:
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=2)
    return StreamingDit(
        DitSpec(
            in_channels=4,
            out_channels=2,
            dim=16,
            num_heads=2,
            mlp_ratio=2,
            text_dim=6,
            mixers=hybrid_mixers(2, 1, GdnSpec(), softmax),
        )
    )


def batch(frames: int = 5) -> EditBatch:
    generator = torch.Generator().manual_seed(0)

    def latent() -> torch.Tensor:
        return torch.randn(6, 2, frames, 3, 4, generator=generator)

    source = latent()
    target = -source
    text = torch.randn(6, 3, 6, generator=generator)
    weight = torch.ones(6, 1, frames, 3, 4)
    return EditBatch(source, target, target, latent(), weight, text, torch.ones(6, 3, dtype=torch.bool))


def loss(model: StreamingDit, seed: int, config: EditFlowConfig = CONFIG, frames: int = 5) -> torch.Tensor:
    velocity = ClipVelocity(model, config.chunks(frames))
    return edit_flow_loss(velocity, batch(frames), config, torch.Generator().manual_seed(seed))[0]


def test_an_untrained_model_that_predicts_zero_has_the_variance_of_the_velocity():
    # noise minus data, both of unit variance
    values = [loss(tiny_dit(), seed).item() for seed in range(12)]
    assert sum(values) / len(values) == pytest.approx(2.0, rel=0.1)


def test_the_loss_is_a_function_of_the_generator():
    model = tiny_dit()
    torch.nn.init.normal_(model.final.weight)
    assert torch.equal(loss(model, 3), loss(model, 3))
    assert not torch.equal(loss(model, 3), loss(model, 4))


def test_training_on_it_learns_a_simple_edit():
    torch.manual_seed(0)
    model = tiny_dit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = sum(loss(model, 1000 + i).item() for i in range(8))
    for step in range(120):
        optimizer.zero_grad()
        loss(model, step).backward()
        optimizer.step()
    after = sum(loss(model, 1000 + i).item() for i in range(8))
    assert after < 0.45 * before


def test_clean_memory_has_no_loss():
    """A model that is wrong only where frames are clean loses nothing."""
    config = EditFlowConfig(served_sigmas=(1.0,), served_share=1.0, memory_noise=0.0)

    class Oracle(StreamingDit):
        def forward(self, latent, sigma, text, state=None, *, write, chunks=None):
            noisy, source = latent.chunk(2, dim=1)
            assert ((sigma == 0) | (sigma == 1)).all()
            velocity = noisy + source  # noise - x0 with x0 = -source, right at noise level 1 alone
            is_clean = (sigma == 0)[:, None, :, None, None]
            return torch.where(is_clean, 1e6, velocity), state

    assert loss(Oracle(tiny_dit().spec), 0, config).item() < 1e-10


def test_a_share_of_whole_chunks_is_under_training_at_least_one_in_every_clip():
    config = EditFlowConfig(
        served_sigmas=(0.5,), served_share=1.0, frames_per_chunk=2, first_chunk_frames=1, noisy_share=0.4
    )
    velocity = ClipVelocity(tiny_dit(), config.chunks(5))
    steps = [
        edit_flow_step(velocity, batch(), config, torch.Generator().manual_seed(seed)) for seed in range(60)
    ]
    noisy = torch.cat([step.is_noisy for step in steps])
    assert torch.equal(noisy[:, 1], noisy[:, 2])
    assert torch.equal(noisy[:, 3], noisy[:, 4])
    assert noisy.any(dim=1).all()
    # one of three chunks always, the other two by share
    assert noisy[:, [0, 1, 3]].float().mean() == pytest.approx((1 + 2 * 0.4) / 3, abs=0.06)
    sigma = torch.cat([step.sigma for step in steps])
    assert torch.equal(sigma, torch.where(noisy, 0.5, 0.0))
    never = replace(config, noisy_share=0.0)
    assert edit_flow_step(velocity, batch(), never, torch.Generator().manual_seed(0)).is_noisy.any(1).all()
    with pytest.raises(ConfigError, match=r"got noisy_share 1\.5"):
        replace(config, noisy_share=1.5)


def test_some_memory_is_as_the_last_denoising_step_leaves_it():
    config = replace(CONFIG, noisy_share=0.4, served_share=1.0, memory_noise=0.0, last_step_share=0.5)
    given = batch()._replace(memory=batch().source)
    velocity = ClipVelocity(tiny_dit(), config.chunks(5))
    steps = [edit_flow_step(velocity, given, config, torch.Generator().manual_seed(i)) for i in range(8)]
    seen = set[float]()
    for step in steps:
        for clip in range(6):
            levels = step.sigma[clip][~step.is_noisy[clip]].tolist()
            assert len(set(levels)) <= 1  # a stream is committed in one way
            seen.update(levels)
            for frame in range(5):
                level = step.sigma[clip, frame]
                clean = (
                    given.target[clip, :, frame]
                    if step.is_noisy[clip, frame]
                    else given.memory[clip, :, frame]
                )
                made = (1 - level) * clean + level * given.noise[clip, :, frame]
                torch.testing.assert_close(step.noisy[clip, :, frame], made)
    assert seen == {0.0, 0.5}
    with pytest.raises(ConfigError, match=r"last_step_share 1\.5"):
        replace(config, last_step_share=1.5)


def test_a_draft_takes_the_targets_place_and_the_velocity_leads_from_it_to_the_target():
    given = batch()
    draft = given.target + 0.3
    config = replace(CONFIG, noisy_share=0.5, served_share=1.0)
    velocity = ClipVelocity(tiny_dit(), config.chunks(5))
    generator = torch.Generator().manual_seed(3)
    step = edit_flow_step(velocity, given._replace(draft=draft), config, generator)
    plain = edit_flow_step(velocity, given, config, torch.Generator().manual_seed(3))
    is_noisy = step.is_noisy[:, None, :, None, None]
    level = step.sigma[:, None, :, None, None]
    made = (1 - level) * draft + level * given.noise
    torch.testing.assert_close(torch.where(is_noisy, step.noisy, made), made)
    assert torch.equal(torch.where(is_noisy, 0, step.noisy), torch.where(is_noisy, 0, plain.noisy))
    # an oracle that goes from what it is given to the target loses nothing, on frames that count
    oracle = (step.noisy - given.target) / torch.where(is_noisy, level, 1.0)
    answered = step._replace(velocity=torch.where(is_noisy, oracle, 1e6))
    assert flow_error(answered, given._replace(draft=draft))[0] < 1e-9
    assert flow_error(answered, given)[0] > 1e-2
    # the target as a draft is the plain objective
    same = flow_error(plain, given._replace(draft=given.target))[0]
    torch.testing.assert_close(same, flow_error(plain, given)[0])
    with pytest.raises(ConfigError, match="served_share"):
        edit_flow_step(velocity, given._replace(draft=draft), replace(config, served_share=0.9), generator)


def test_in_fresh_clips_nothing_but_source_and_words_says_what_is_asked_for():
    config = replace(CONFIG, noisy_share=0.4, fresh_share=0.5)
    velocity = ClipVelocity(tiny_dit(), config.chunks(5))
    given = batch()
    kinds = set[bool]()
    for seed in range(6):
        step = edit_flow_step(velocity, given, config, torch.Generator().manual_seed(seed))
        is_fresh = (step.sigma == 1).all(1)
        kinds.update(is_fresh.tolist())
        assert torch.equal(step.noisy[is_fresh], given.noise[is_fresh])
        assert step.is_noisy[is_fresh].all()
    assert kinds == {False, True}
    always = replace(config, fresh_share=1.0)
    step = edit_flow_step(velocity, given, always, torch.Generator().manual_seed(0))
    assert torch.equal(step.noisy, given.noise)
    with pytest.raises(ConfigError, match=r"fresh_share -0\.1"):
        replace(config, fresh_share=-0.1)


def test_clips_end_on_chunk_borders():
    config = EditFlowConfig(served_sigmas=(1.0,), frames_per_chunk=3, first_chunk_frames=2)
    assert config.chunks(8) == (2, 3, 3)
    with pytest.raises(ConfigError, match="multiple of 3"):
        config.chunks(7)
