"""The flow-matching objective of a chunk-causal editor on paired latents; draws noise levels, not data."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.diffusion.flow import add_noise, logit_normal_sigma, shift_sigma, velocity_target
from vivace.training.clip_velocity import Velocity

Latent = Float[Tensor, "b c t h w"]


class EditBatch(NamedTuple):
    """Paired clips in latent space with their instructions."""

    source: Latent
    target: Latent
    memory: Latent  # what the model is taken to have produced before the chunk under training
    noise: Latent
    weight: Float[Tensor, "b 1 t h w"]  # how much the error of a place counts; 1 is ordinary
    text: Float[Tensor, "b m c"]
    text_mask: Bool[Tensor, "b m"]
    # what noise is added to, None for the target: where it is what the model made itself, as when serving, no
    # noisy frame tells what is asked for, and the velocity leads from there to the target
    draft: Latent | None = None


class FlowStep(NamedTuple):
    """One training forward of a clip: what went in, which frames are under training, what came out."""

    noisy: Latent
    sigma: Float[Tensor, "b t"]
    is_noisy: Bool[Tensor, "b t"]
    velocity: Latent


@dataclass(frozen=True, kw_only=True, slots=True)
class EditFlowConfig:
    """How noise levels are drawn for every latent frame of a clip.

    A clip is cut at a random frame: frames before it are clean memory, as after a commit, and carry no loss;
    every chunk from there on has a noise level of its own. `served_share` of the levels are those that the
    few-step sampler visits, the others logit-normal moved by `shift`. `memory_noise` is the largest level of
    noise added to clean memory without telling the model, so that it forgives its own mistakes. With
    `noisy_share` there is no cut: that share of the chunks, drawn one by one, is under training, so that most
    of them look back on clean memory nearby, as when serving. In `last_step_share` of the clips memory is as
    a commit by the last denoising step leaves it: at the last of `served_sigmas`, with the model told so.
    In `fresh_share` of the clips every frame is at the first of `served_sigmas`, so that only source and
    words say what is asked for: elsewhere less noise, or memory, tells a model which of two things is meant,
    and it need not listen.
    """

    served_sigmas: tuple[float, ...]
    served_share: float = 0.7
    shift: float = 3.0
    memory_noise: float = 0.15
    frames_per_chunk: int = 1
    first_chunk_frames: int = 1
    noisy_share: float | None = None
    last_step_share: float = 0.0
    fresh_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.served_sigmas:
            raise ConfigError("EditFlowConfig: got no served_sigmas, expected at least one noise level")
        if self.noisy_share is not None and not 0 <= self.noisy_share <= 1:
            raise ConfigError(f"EditFlowConfig: got noisy_share {self.noisy_share}, expected None or 0 to 1")
        shares = self.served_share, self.memory_noise, self.last_step_share, self.fresh_share
        if not all(0 <= share <= 1 for share in shares) or self.memory_noise == 1:
            raise ConfigError(
                f"EditFlowConfig: got served_share {self.served_share}, memory_noise {self.memory_noise}, "
                f"last_step_share {self.last_step_share} and fresh_share {self.fresh_share}, expected 0 to 1 "
                "(memory_noise below 1)"
            )

    def chunks(self, num_frames: int) -> tuple[int, ...]:
        """Chunk sizes that cover a clip.

        Raises:
            ConfigError: If the clip does not end on a chunk border.
        """
        rest = num_frames - self.first_chunk_frames
        if rest < 0 or rest % self.frames_per_chunk:
            raise ConfigError(
                f"got clips of {num_frames} latent frames, expected {self.first_chunk_frames} plus "
                f"a multiple of {self.frames_per_chunk}"
            )
        return (self.first_chunk_frames, *([self.frames_per_chunk] * (rest // self.frames_per_chunk)))


def edit_flow_loss(
    velocity: Velocity, batch: EditBatch, config: EditFlowConfig, generator: torch.Generator
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Mean squared velocity error over the noisy frames, and the error at high and at low noise.

    Source: flow matching (Lipman et al. 2022); independent noise levels per frame as in Diffusion Forcing
    (Chen et al. 2024), with a clean prefix because serving commits clean chunks.
    """
    return flow_error(edit_flow_step(velocity, batch, config, generator), batch)


def edit_flow_step(
    velocity: Velocity, batch: EditBatch, config: EditFlowConfig, generator: torch.Generator
) -> FlowStep:
    """Predict the velocity of every noisy frame of a clip cut at a random chunk.

    The whole clip goes through the model at once, chunk-causally (`ClipVelocity` of the config's chunks): a
    chunk reads what earlier frames wrote, noisy or clean, exactly as the streaming forward does.

    Raises:
        ConfigError: If there are drafts and levels near 0, where the way from them to the target is steep.
    """
    if batch.draft is not None and config.served_share < 1:
        raise ConfigError(
            f"got drafts and served_share {config.served_share}, expected 1: elsewhere levels come near 0, "
            "where the velocity from a draft to its target grows without bound"
        )
    b, _, frames, _, _ = batch.target.shape
    chunks = config.chunks(frames)
    chunk_of_frame = torch.repeat_interleave(
        torch.arange(len(chunks), device=generator.device), torch.tensor(chunks, device=generator.device)
    )
    sigma_of_chunk = _draw_sigmas((b, len(chunks)), config, generator)
    first_noisy = torch.randint(len(chunks), (b, 1), generator=generator, device=generator.device)
    if config.noisy_share is None:
        is_noisy = chunk_of_frame[None] >= first_noisy
    else:
        drawn = torch.rand(b, len(chunks), generator=generator, device=generator.device) < config.noisy_share
        # at least one chunk of every clip is under training
        is_noisy = drawn.scatter(1, first_noisy, True)[:, chunk_of_frame]
    if config.fresh_share:
        is_fresh = torch.rand(b, 1, generator=generator, device=generator.device) < config.fresh_share
        is_noisy = is_noisy | is_fresh
        sigma_of_chunk = torch.where(is_fresh, config.served_sigmas[0], sigma_of_chunk)
    sigma = torch.where(is_noisy, sigma_of_chunk[:, chunk_of_frame], 0.0)

    noisy = add_noise(batch.target if batch.draft is None else batch.draft, batch.noise, sigma)
    hidden_level = config.memory_noise * torch.rand(b, 1, generator=generator, device=generator.device)
    memory = add_noise(batch.memory, normal_like(batch.target, generator), hidden_level)
    if config.last_step_share:
        drawn = torch.rand(b, 1, generator=generator, device=generator.device) < config.last_step_share
        level = torch.where(drawn & ~is_noisy, config.served_sigmas[-1], 0.0)
        memory = add_noise(memory, batch.noise, level)
        sigma = sigma + level
    x = torch.where(is_noisy[:, None, :, None, None], noisy, memory)

    predicted = velocity(torch.cat([x, batch.source], dim=1), sigma, batch.text, batch.text_mask)
    return FlowStep(x, sigma, is_noisy, predicted.float())


def flow_error(step: FlowStep, batch: EditBatch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Weighted mean squared velocity error over the noisy frames; parts are at high and at low noise."""
    squared = (step.velocity - _wanted_velocity(step, batch)).square()
    error = (squared * batch.weight).mean(dim=(1, 3, 4))
    counted = step.is_noisy.float()
    is_high = counted * (step.sigma > 0.9)
    parts = {
        "high": (error * is_high).sum() / is_high.sum().clamp(min=1),
        "low": (error * (counted - is_high)).sum() / (counted - is_high).sum().clamp(min=1),
    }
    return (error * counted).sum() / counted.sum(), parts


def _wanted_velocity(step: FlowStep, batch: EditBatch) -> Latent:
    """From every noisy frame straight to its target; frames that are not noisy count nowhere."""
    if batch.draft is None:
        return velocity_target(batch.target, batch.noise)
    sigma = torch.where(step.is_noisy, step.sigma, 1.0)[:, None, :, None, None]
    return velocity_target(batch.draft, batch.noise) + (batch.draft - batch.target) / sigma


def _draw_sigmas(
    shape: tuple[int, int], config: EditFlowConfig, generator: torch.Generator
) -> Float[Tensor, "b k"]:
    served = torch.tensor(config.served_sigmas, device=generator.device)
    visited = served[torch.randint(len(served), shape, generator=generator, device=generator.device)]
    spread = shift_sigma(logit_normal_sigma(shape, generator), config.shift)
    is_served = torch.rand(shape, generator=generator, device=generator.device) < config.served_share
    return torch.where(is_served, visited, spread)


def normal_like(like: Latent, generator: torch.Generator) -> Latent:
    """Standard normal noise of a latent's shape, fp32."""
    return torch.randn(like.shape, generator=generator, device=generator.device, dtype=torch.float32)
