"""Small-scale research rows on the bundled editor: key scaling, kinds of blocks, sink and window, with seeds.

python -m vivace.recipes.research_rows --clips CLIPS --eval EVALUATION --vae VAE --prompts ENCODER \
    --variants hybrid all_gdn --seeds 0 1 2 --out rows.jsonl --device cuda

Every run trains the causal editor from scratch for a fixed number of train steps at 160x96 on eight edits,
then streams held-out clips; one JSON line a run. With `--table rows.jsonl` it prints means and ranges over
seeds instead.
"""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from vivace.catalog.load import choose_device
from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.core.seeds import mix_seed
from vivace.data import edit_pairs as pairs
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import EditFamily, make_pair
from vivace.data.instructions import phrasings
from vivace.diffusion.noise import stream_noise
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS, euler_step
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import DitState, StreamingDit, hybrid_mixers
from vivace.models.video_vae import VideoVae
from vivace.recipes.research_variants import Variant, build
from vivace.recipes.tiny_edit import tiny_edit_spec
from vivace.recipes.tiny_vae import fitted
from vivace.training.clip_velocity import ClipVelocity
from vivace.training.edit_flow import EditBatch, EditFlowConfig, edit_flow_loss, normal_like
from vivace.training.optimizer import learning_rate_at

Latent = Float[Tensor, "b c t h w"]
FAMILIES: tuple[EditFamily, ...] = (
    pairs.PENCIL_SKETCH,
    pairs.OIL_PAINTING,
    pairs.PIXEL_ART,
    pairs.NEON_EDGES,
    pairs.NIGHT,
    pairs.FOG,
    pairs.THERMAL,
    pairs.CYBERPUNK,
)
WARMUP_STEPS = 100
SIGMAS = SANA_STREAMING_4_STEPS
SPIKE = 4.0  # a gradient norm this many times the running mean counts as a spike


@dataclass(frozen=True, kw_only=True, slots=True)
class RowConfig:
    """What every run of the table shares."""

    num_train_steps: int = 1200
    batch: int = 24
    num_pairs: int = 64
    steps_per_pool: int = 20
    num_raw_frames: int = 33
    height_px: int = 96
    width_px: int = 160
    learning_rate: float = 8e-4
    eval_raw_frames: int = 97


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run. Errors are mean squares in latent units of the 4-step stream against the programmatic target.

    Attributes:
        early_error: Latent frames 4 to 12; None where the stream was not finite.
        late_error: The last eight latent frames of the stream; likewise.
        loss: Mean of the last hundred train steps.
        spikes: Train steps whose gradient norm was four times its running mean, or not finite.
        largest_norm: The largest gradient norm after warm-up; None where one was not finite.
        state_bytes: Of one stream's memory at the end, in fp32.
    """

    variant: str
    seed: int
    num_train_steps: int
    early_error: float | None
    late_error: float | None
    loss: float
    spikes: int
    largest_norm: float | None
    state_bytes: int


class Bench:
    """Data that all runs of one process share."""

    def __init__(
        self, config: RowConfig, clips: ClipStore, held_out: ClipStore, vae: VideoVae, words: PromptEncoder
    ) -> None:
        self.config = config
        self.clips = clips
        self.vae = vae
        self.device = clips.device
        encoded = words.encode([phrasings(family, "train")[0] for family in FAMILIES])
        self.text = encoded.tokens.float().to(self.device), encoded.mask.to(self.device)
        wide = SoftmaxSpec(num_sink_frames=1, window_frames=4, max_distance_frames=8)
        self.base = replace(
            tiny_edit_spec(vae.spec.latent_channels, words.spec.dim),
            mixers=hybrid_mixers(6, 2, GdnSpec(), wide),
            place_octaves=0,
        )
        self.held_out = self._held_out(held_out)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Latent:
        """Latents of videos in [0, 1]."""
        return self.vae.encode((video * 2 - 1).to(next(self.vae.parameters()).dtype), None)[0].float()

    def _held_out(self, store: ClipStore) -> tuple[Latent, Latent]:
        config = self.config
        videos = [
            fitted(store.frames(e)[: config.eval_raw_frames], config.height_px, config.width_px)
            for e in store.entries
            if e.num_frames >= config.eval_raw_frames
        ]
        sources, targets = [], []
        for number, family in enumerate(FAMILIES):
            video = videos[number % len(videos)]
            sources.append(self.encode(video))
            targets.append(self.encode(make_pair(video, family, 0)))
        return torch.cat(sources), torch.cat(targets)

    @torch.no_grad()
    def pool(self, seed: int) -> tuple[Latent, Latent, Tensor]:
        """Source and target latents and the number of the edit of each clip."""
        config = self.config
        video = self.clips.sample(
            seed, config.num_pairs, config.num_raw_frames, config.height_px, config.width_px
        )
        groups = video.split(config.num_pairs // len(FAMILIES))
        targets = [make_pair(group, family, seed) for group, family in zip(groups, FAMILIES)]
        numbers = torch.arange(len(FAMILIES), device=self.device)
        return (
            self.encode(video),
            self.encode(torch.cat(targets)),
            numbers.repeat_interleave(len(groups[0])),
        )


def run(bench: Bench, variant: Variant, seed: int) -> Row:
    """Train a variant from scratch and stream the held-out clips."""
    config, device = bench.config, bench.device
    torch.manual_seed(seed)
    model = build(variant, bench.base).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    flow = EditFlowConfig(served_sigmas=SIGMAS)
    velocity = ClipVelocity(model, flow.chunks(1 + (config.num_raw_frames - 1) // 4))
    norms: list[Tensor] = []
    losses: list[Tensor] = []
    source, target, numbers = bench.pool(mix_seed(seed, 0))
    for step in range(config.num_train_steps):
        if step % config.steps_per_pool == 0:
            source, target, numbers = bench.pool(mix_seed(seed, step))
        generator = torch.Generator(device).manual_seed(mix_seed(seed, 1, step))
        chosen = torch.tensor(random.Random(mix_seed(seed, 2, step)).sample(range(len(source)), config.batch))
        rows = chosen.to(device)
        batch = EditBatch(
            source=source[rows],
            target=target[rows],
            memory=target[rows],
            noise=normal_like(target[rows], generator),
            weight=torch.ones_like(target[rows, :1]),
            text=bench.text[0][numbers[rows]],
            text_mask=bench.text[1][numbers[rows]],
        )
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss, _ = edit_flow_loss(velocity, batch, flow, generator)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(
                step,
                step / config.num_train_steps,
                peak=config.learning_rate,
                warmup_steps=WARMUP_STEPS,
                final_fraction=0.02,
            )
        if bool(torch.isfinite(norm)):  # others are counted and left out, as the trainer does
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        norms.append(norm.detach())
        losses.append(loss.detach())
    early, late, state_bytes = evaluate(bench, model)
    spikes, largest = count_spikes(torch.stack(norms).cpu(), min(WARMUP_STEPS, config.num_train_steps // 4))
    return Row(
        variant=variant,
        seed=seed,
        num_train_steps=config.num_train_steps,
        early_error=early,
        late_error=late,
        loss=float(torch.stack(losses[-100:]).mean()),
        spikes=spikes,
        largest_norm=largest,
        state_bytes=state_bytes,
    )


def count_spikes(norms: Float[Tensor, "n"], warmup: int) -> tuple[int, float | None]:
    """How many gradient norms after warm-up jump up or are not finite, and the largest one."""
    mean, spikes = float(norms[:warmup].nan_to_num(1.0, 1.0, 1.0).mean()), 0
    for norm in norms[warmup:].tolist():
        if not norm < SPIKE * mean:
            spikes += 1
        else:
            mean = 0.98 * mean + 0.02 * norm
    tail = norms[warmup:]
    return spikes, float(tail.max()) if bool(tail.isfinite().all()) else None


@torch.no_grad()
def evaluate(bench: Bench, model: StreamingDit) -> tuple[float | None, float | None, int]:
    """Errors of the 4-step stream early and late, and the bytes of one stream's memory."""
    source, target = bench.held_out
    text = model.eval().embed_text(*bench.text)
    frames, size = source.shape[2], (source.shape[3], source.shape[4])
    noise = torch.cat([stream_noise(i, 0, frames, source.shape[1], size) for i in range(len(source))])
    noise = noise.to(source.device)
    state: DitState | None = None
    errors: list[Tensor] = []

    def velocity(x: Latent, seen: Latent, sigma: float, *, write: bool) -> tuple[Tensor, DitState | None]:
        level = torch.full((len(x), 1), sigma, device=x.device)
        return model(torch.cat([x, seen], dim=1), level, text, state, write=write)

    for frame in range(frames):
        x, seen = noise[:, :, frame : frame + 1], source[:, :, frame : frame + 1]
        for sigma, after in zip(SIGMAS, (*SIGMAS[1:], 0.0)):
            x = euler_step(x, velocity(x, seen, sigma, write=False)[0].float(), sigma, after)
        _, state = velocity(x, seen, 0.0, write=True)
        errors.append((x - target[:, :, frame : frame + 1]).square().mean())
    assert state is not None
    error = torch.stack(errors)
    return _finite(error[4:13].mean()), _finite(error[-8:].mean()), state.num_bytes() // len(source)


def _finite(value: Tensor) -> float | None:
    return float(value) if bool(value.isfinite()) else None


def _spread(values: Sequence[float | None]) -> str:
    """Mean and range; a row that failed in any seed has failed."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return f"not finite in {len(values) - len(numbers)} of {len(values)}"
    return f"{sum(numbers) / len(numbers):.4f} ({min(numbers):.4f} to {max(numbers):.4f})"


def table(rows: Sequence[Row]) -> str:
    """Means over seeds, with the range, as a Markdown table."""
    lines = [
        "| variant | seeds | error, frames 4 to 12 | error, last 8 | loss | spikes | state |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for variant in get_args(Variant):
        own = [row for row in rows if row.variant == variant]
        if not own:
            continue
        early, late = [row.early_error for row in own], [row.late_error for row in own]
        lines.append(
            f"| {variant} | {len(own)} | {_spread(early)} | {_spread(late)} "
            f"| {_spread([row.loss for row in own])} "
            f"| {', '.join(str(row.spikes) for row in own)} | {own[0].state_bytes / 2**10:.0f} KiB |"
        )
    return "\n".join(lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Run rows, or print the table of finished ones."""

    table: Path | None = None
    clips: Path | None = None
    eval: Path | None = None
    vae: Path | None = None
    prompts: Path | None = None
    out: Path = Path("rows.jsonl")
    variants: tuple[Variant, ...] = get_args(Variant)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1200
    device: str = "cuda"


def main(arguments: Arguments) -> None:
    """Append one JSON line a run to `out`."""
    if arguments.table is not None:
        print(table([Row(**json.loads(line)) for line in arguments.table.read_text().splitlines()]))
        return
    if not (arguments.clips and arguments.eval and arguments.vae and arguments.prompts):
        raise InputError("name --clips, --eval, --vae and --prompts, or --table with finished rows")
    device = choose_device(arguments.device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = VideoVae.load(arguments.vae, dtype).to(device).requires_grad_(False)
    words = PromptEncoder.load(arguments.prompts)
    clips, held_out = (ClipStore.load(folder, device) for folder in (arguments.clips, arguments.eval))
    bench = Bench(RowConfig(num_train_steps=arguments.steps), clips, held_out, vae, words)
    for seed in arguments.seeds:
        for variant in arguments.variants:
            row = run(bench, variant, seed)
            with arguments.out.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "research_rows"))
