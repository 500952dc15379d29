"""Train a toy video editor, then edit an endless stream with it: the whole method on a CPU in seconds.

The "videos" are blobs that drift over a 4 x 4 picture, one number a pixel, so that latents are the pictures
themselves and no VAE is needed. The editor knows two instructions: `negative` turns dark into bright, and
`trail` lets every blob leave a fading trace, which no frame shows by itself: it has to be remembered. All
else is what the full-size editor uses: the same network class, objective, sampler and stream state.

    python examples/toy_stream.py
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.core.grid import ChunkPlan
from vivace.diffusion.noise import stream_noise
from vivace.diffusion.sampler import sample, shifted_sigmas
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, DitState, StreamingDit, TextContext, hybrid_mixers
from vivace.training.clip_velocity import ClipVelocity
from vivace.training.edit_flow import EditBatch, EditFlowConfig, edit_flow_loss

Latent = Float[Tensor, "b c t h w"]

INSTRUCTIONS = ("negative", "trail")
SIDE, FADE = 4, 0.7
PLAN = ChunkPlan.live(2, first_chunk_frames=1)
SIGMAS = shifted_sigmas(4, shift=3.0)
FLOW = EditFlowConfig(served_sigmas=SIGMAS, frames_per_chunk=2, first_chunk_frames=1)
SPEC = DitSpec(
    in_channels=2,
    out_channels=1,
    dim=32,
    num_heads=2,
    mlp_ratio=2,
    text_dim=len(INSTRUCTIONS),
    mixers=hybrid_mixers(3, 1, GdnSpec(), SoftmaxSpec(num_sink_frames=1, window_frames=4)),
)


@dataclass(frozen=True, slots=True)
class Edited:
    """What one chunk gave, and the time it took."""

    latent: Latent
    chunk_ms: float


def make_clips(num_clips: int, num_frames: int, generator: torch.Generator) -> Latent:
    """Blobs that drift over a torus, each with a start and a velocity of its own; values in [-1, 1]."""
    start = SIDE * torch.rand(num_clips, 2, 1, generator=generator)
    velocity = 2 * torch.rand(num_clips, 2, 1, generator=generator) - 1
    centre = start + velocity * torch.arange(num_frames)
    gap = (torch.arange(SIDE)[:, None, None, None] - centre).remainder(SIDE)
    gap = torch.minimum(gap, SIDE - gap).permute(1, 2, 3, 0)  # clip, axis, frame, position
    distance = gap[:, 0, :, :, None].square() + gap[:, 1, :, None, :].square()
    return 2 * torch.exp(-distance)[:, None] - 1


def edit(source: Latent, instruction: str) -> Latent:
    """The right answer, by arithmetic."""
    if instruction == "negative":
        return -source
    frames = [source[:, :, 0]]
    for t in range(1, source.shape[2]):
        frames.append(torch.maximum(source[:, :, t], FADE * (frames[-1] + 1) - 1))
    return torch.stack(frames, dim=2)


def text_features(instructions: list[str]) -> tuple[Float[Tensor, "b m c"], Tensor]:
    """One token for each instruction, and the mask of tokens that count."""
    which = torch.tensor([INSTRUCTIONS.index(instruction) for instruction in instructions])
    return torch.eye(len(INSTRUCTIONS))[which][:, None], torch.ones(len(instructions), 1, dtype=torch.bool)


def train(num_train_steps: int, seed: int = 0) -> tuple[StreamingDit, list[float]]:
    """A trained editor and its losses."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = StreamingDit(SPEC)
    velocity = ClipVelocity(model, FLOW.chunks(9))
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 8e-3, total_steps=num_train_steps, pct_start=0.1
    )
    losses: list[float] = []
    for _ in range(num_train_steps):
        source = make_clips(8, 9, generator)
        instructions = [INSTRUCTIONS[i % 2] for i in range(len(source))]
        target = torch.cat([edit(clip[None], name) for clip, name in zip(source, instructions)])
        noise = torch.randn(target.shape, generator=generator)
        weight = torch.ones_like(target[:, :1])
        batch = EditBatch(source, target, target, noise, weight, *text_features(instructions))
        loss, _ = edit_flow_loss(velocity, batch, FLOW, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model.eval(), losses


@torch.no_grad()
def velocity_of(
    model: StreamingDit, text: TextContext, source: Latent, state: DitState | None, x: Latent, sigma: float
) -> Latent:
    """A denoising step of one chunk: reads the memory and leaves it as it is."""
    return model(torch.cat([x, source], dim=1), torch.tensor([[sigma]]), text, state, write=False)[0]


@torch.no_grad()
def stream(model: StreamingDit, source: Latent, instruction: str, seed: int) -> Iterator[Edited]:
    """Edit chunk by chunk: denoise with the memory, commit the result to it, go on; its size is bounded."""
    text = model.embed_text(*text_features([instruction]))
    state: DitState | None = None
    for chunk in PLAN.chunks():
        if chunk.stop > source.shape[2]:
            return
        began = time.perf_counter()
        picture = source[:, :, chunk.start : chunk.stop]
        noise = stream_noise(seed, chunk.start, chunk.num_frames, 1, (SIDE, SIDE))
        latent = sample(partial(velocity_of, model, text, picture, state), noise, SIGMAS)
        _, state = model(torch.cat([latent, picture], dim=1), torch.zeros(1, 1), text, state, write=True)
        yield Edited(latent, 1000 * (time.perf_counter() - began))


@torch.no_grad()
def velocity_from_scratch(
    model: StreamingDit, text: TextContext, source: Latent, done: Latent, x: Latent, sigma: float
) -> Latent:
    """The same step without a memory: the forward sees the clip from its first frame, earlier ones clean."""
    frames = torch.cat([done, x], dim=2)
    levels = torch.zeros(1, frames.shape[2])
    levels[:, done.shape[2] :] = sigma
    seen = torch.cat([frames, source[:, :, : frames.shape[2]]], dim=1)
    velocity, _ = model(seen, levels, text, write=False, chunks=PLAN.sizes(0, frames.shape[2]))
    return velocity[:, :, done.shape[2] :]


def edit_offline(model: StreamingDit, source: Latent, instruction: str, seed: int) -> Latent:
    """The same edit without any state."""
    with torch.no_grad():
        text = model.embed_text(*text_features([instruction]))
    done = source[:, :, :0]
    for chunk in PLAN.chunks():
        if chunk.stop > source.shape[2]:
            return done
        noise = stream_noise(seed, chunk.start, chunk.num_frames, 1, (SIDE, SIDE))
        finished = sample(partial(velocity_from_scratch, model, text, source, done), noise, SIGMAS)
        done = torch.cat([done, finished], dim=2)
    return done


def drawing(clip: Latent, num_frames: int) -> str:
    """The first frames side by side, as characters from dark to bright."""
    shades = " .:-=+*#%@"
    levels = ((clip[0, 0, :num_frames].clamp(-1, 1) + 1) * 4.5).round().int()
    rows = [["".join(shades[v] * 2 for v in row) for row in frame] for frame in levels.tolist()]
    return "\n".join("  ".join(frame[y] for frame in rows) for y in range(SIDE))


def main() -> None:
    """Train, stream, compare with the offline edit and with the right answer."""
    began = time.perf_counter()
    model, losses = train(200)
    early, late = sum(losses[:20]) / 20, sum(losses[-20:]) / 20
    print(f"loss {early:.3f} -> {late:.3f} in {time.perf_counter() - began:.1f} s")
    assert late < early / 4, "the loss did not fall"

    source = make_clips(1, 25, torch.Generator().manual_seed(99))
    print(f"\nsource\n{drawing(source, 7)}")
    for instruction in INSTRUCTIONS:
        chunks = list(stream(model, source, instruction, seed=1))
        streamed = torch.cat([chunk.latent for chunk in chunks], dim=2)
        gap = (streamed - edit_offline(model, source, instruction, seed=1)).abs().max().item()
        right = edit(source, instruction)
        error, untouched = ((x - right).square().mean().item() for x in (streamed, source))
        print(f"\n{instruction}: squared error {error:.4f} (source itself {untouched:.4f}),", end=" ")
        print(f"streaming - offline {gap:.1e}, {chunks[-1].chunk_ms:.1f} ms a chunk\n{drawing(streamed, 7)}")
        assert gap < 1e-4, "streaming and offline differ"
        assert error < untouched / 4, "the edit was not learned"


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors this small are slower on several
    main()
