"""Train the bundled editor `tiny-edit`: streaming flow matching on programmatic edits of real footage.

python -m vivace.recipes.tiny_edit --clips CLIPS --vae VAE --prompts PROMPT_ENCODER --out RUN --minutes 20
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vivace.core.config import write_config
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import FAMILIES, PAIRS, EditFamily, FamilyPair, make_pair
from vivace.data.instructions import sample_instruction
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.shards import export_weights, load_sharded
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.models.video_vae import VideoVae
from vivace.training.edit_flow import EditBatch, EditFlowConfig, edit_flow_loss
from vivace.training.objective import Loss
from vivace.training.trainer import Trainer, TrainerConfig

Latent = Float[Tensor, "b c t h w"]

WEIGHTS_PREFIX = "dit"
SPEC_NAME = "dit.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class EditPoolConfig:
    """How paired latents are made; a pool of fresh pairs serves `steps_per_pool` train steps.

    Attributes:
        num_pairs: Clips in a pool; each `clips_per_family` of them get one edit.
        pair_share: Share of clips that get a combination of two edits.
        switch_share: Share of clips whose memory shows another edit, as after a change of the prompt.
    """

    num_pairs: int = 72
    clips_per_family: int = 4
    batch: int = 24
    steps_per_pool: int = 12
    num_raw_frames: int = 49
    height_px: int = 192
    width_px: int = 320
    pair_share: float = 0.25
    switch_share: float = 0.25
    instructions_per_family: int = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyEditRun:
    """Everything that decides a run."""

    spec: DitSpec
    pool: EditPoolConfig
    flow: EditFlowConfig
    trainer: TrainerConfig
    seed: int = 0


def tiny_edit_spec(latent_channels: int, text_dim: int) -> DitSpec:
    """The bundled editor: the SANA-Streaming blocks at a size for two CPU cores.

    One latent frame a chunk keeps the delay at four raw frames; six blocks keep the overhead per forward low.
    """
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=4, max_distance_frames=8)
    return DitSpec(
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        dim=256,
        num_heads=4,
        mlp_ratio=2.5,
        text_dim=text_dim,
        mixers=hybrid_mixers(6, 2, GdnSpec(), softmax),
    )


def tiny_edit_run(spec: DitSpec, minutes: float, num_train_steps: int) -> TinyEditRun:
    """The run that made the bundled weights, sized for one H200."""
    return TinyEditRun(
        spec=spec,
        pool=EditPoolConfig(),
        flow=EditFlowConfig(served_sigmas=SANA_STREAMING_4_STEPS),
        trainer=TrainerConfig(
            num_train_steps=num_train_steps,
            learning_rate=8e-4,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            warmup_steps=400,
            final_learning_rate_fraction=0.02,
            grad_clip_norm=1.0,
            ema_decay=0.998,
            autocast="bf16",
            log_every=50,
            save_every_minutes=5.0,
            budget_minutes=minutes,
        ),
    )


@dataclass(frozen=True, slots=True)
class InstructionBank:
    """Encoded training instructions of every family, so that no text is encoded while training."""

    features: Float[Tensor, "n m dim"]
    mask: Bool[Tensor, "n m"]
    rows: dict[str, range] = field(hash=False)

    @classmethod
    def build(
        cls, encoder: PromptEncoder, per_family: int, seed: int, device: torch.device
    ) -> "InstructionBank":
        """Sample and encode `per_family` instructions of every family and pair."""
        rng = random.Random(seed)
        prompts: list[str] = []
        rows: dict[str, range] = {}
        for family in (*FAMILIES, *PAIRS):
            rows[family.name] = range(len(prompts), len(prompts) + per_family)
            prompts += [sample_instruction(family, rng, "train") for _ in range(per_family)]
        encoded = encoder.encode(prompts)
        return cls(encoded.tokens.float().to(device), encoded.mask.to(device), rows)


@dataclass(frozen=True, slots=True)
class LatentPool:
    """Paired latents with the family of each clip."""

    source: Latent
    target: Latent
    other: Latent
    families: tuple[EditFamily | FamilyPair, ...]


class EditPairObjective:
    """Draws batches as a pure function of the train step and returns the flow loss."""

    def __init__(self, run: TinyEditRun, clips: ClipStore, vae: VideoVae, bank: InstructionBank) -> None:
        self.run = run
        self.clips = clips
        self.vae = vae
        self.bank = bank
        self._pool: tuple[int, LatentPool] | None = None

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """The loss of one micro-batch."""
        assert isinstance(model, StreamingDit)
        seed = mix_seed(self.run.seed, 1, train_step, micro_batch)
        generator = torch.Generator(self.clips.device).manual_seed(seed)
        batch = self._batch(train_step, random.Random(seed))
        total, parts = edit_flow_loss(model, batch, self.run.flow, generator)
        return Loss(total=total, parts=parts, num_samples=batch.source.shape[0])

    def pool(self, index: int) -> LatentPool:
        """The pool with this index; the newest one is kept."""
        if self._pool is None or self._pool[0] != index:
            self._pool = index, self._make_pool(mix_seed(self.run.seed, 0, index))
        return self._pool[1]

    def _batch(self, train_step: int, rng: random.Random) -> EditBatch:
        config = self.run.pool
        pool = self.pool(train_step // config.steps_per_pool)
        chosen = rng.sample(range(config.num_pairs), config.batch)
        rows = [rng.choice(self.bank.rows[pool.families[i].name]) for i in chosen]
        index, row = torch.tensor(chosen), torch.tensor(rows)
        device = pool.source.device
        is_switched = torch.tensor([rng.random() < config.switch_share for _ in chosen], device=device)
        target, other = pool.target[index.to(device)], pool.other[index.to(device)]
        return EditBatch(
            source=pool.source[index.to(device)],
            target=target,
            memory=torch.where(is_switched[:, None, None, None, None], other, target),
            text=self.bank.features[row.to(device)],
            text_mask=self.bank.mask[row.to(device)],
        )

    @torch.no_grad()
    def _make_pool(self, seed: int) -> LatentPool:
        config = self.run.pool
        rng = random.Random(seed)
        video = self.clips.sample(
            seed, config.num_pairs, config.num_raw_frames, config.height_px, config.width_px
        )
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        families: list[EditFamily | FamilyPair] = []
        for start in range(0, config.num_pairs, config.clips_per_family):
            source = video[start : start + config.clips_per_family]
            family, other = self._draw_family(rng), self._draw_family(rng)
            first_frame = rng.randrange(10_000)
            edits = [make_pair(source, each, rng.getrandbits(30), first_frame) for each in (family, other)]
            encoded = self._encode(torch.cat([source, *edits])).chunk(3)
            parts.append((encoded[0], encoded[1], encoded[2]))
            families += [family] * source.shape[0]
        source, target, other_target = (torch.cat(column) for column in zip(*parts))
        return LatentPool(source, target, other_target, tuple(families))

    def _draw_family(self, rng: random.Random) -> EditFamily | FamilyPair:
        return rng.choice(PAIRS) if rng.random() < self.run.pool.pair_share else rng.choice(FAMILIES)

    def _encode(self, video: Float[Tensor, "b c r h w"]) -> Latent:
        # fp32 weights under autocast would be cast anew for every call: the frozen VAE is bf16 itself
        dtype = next(self.vae.parameters()).dtype
        with torch.autocast(video.device.type, enabled=False):
            latent, _ = self.vae.encode((video * 2 - 1).to(dtype), None)
        return latent.float()


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Train the bundled editor."""

    clips: Path
    vae: Path
    prompts: Path
    out: Path
    minutes: float = 20.0
    num_train_steps: int = 20_000
    device: str = "cuda"
    start_from: Path | None = None


def main(arguments: Arguments) -> None:
    """Train, then export the averaged weights in bf16 to `out/weights`."""
    device = torch.device(arguments.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = VideoVae.load(arguments.vae, dtype).to(device).requires_grad_(False)
    encoder = PromptEncoder.load(arguments.prompts)
    spec = tiny_edit_spec(vae.spec.latent_channels, encoder.spec.dim)
    run = tiny_edit_run(spec, arguments.minutes, arguments.num_train_steps)
    torch.manual_seed(run.seed)
    model = StreamingDit(spec)
    if arguments.start_from is not None:
        model.load_state_dict(load_sharded(arguments.start_from, WEIGHTS_PREFIX))
    clips = ClipStore.load(arguments.clips, device)
    bank = InstructionBank.build(encoder, run.pool.instructions_per_family, run.seed, device)
    objective = EditPairObjective(run, clips, vae, bank)
    trainer = Trainer(run.trainer, model, objective, arguments.out, run, device)
    print(trainer.fit())
    weights = arguments.out / "weights"
    export_weights(trainer.inference_weights(), weights / WEIGHTS_PREFIX, "bf16")
    write_config(spec, weights / SPEC_NAME)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
