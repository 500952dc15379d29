"""Train a lighter decoder for the latents of a video VAE that stays as it is.

python -m vivace.recipes.tiny_decoder --start-from VAE --data CLIPS --lpips LPIPS --out RUN --minutes 14

An editor is trained on latents, so the encoder cannot change without it; what turns latents into pictures
can. The new decoder starts from what it shares with the old one and learns on clips and programmatic edits,
those with falling particles more often than others.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from vivace.core.config import write_config
from vivace.core.shapes import Video
from vivace.data.clips import ClipSamplingConfig, ClipStore
from vivace.data.edit_pairs import FAMILIES, IDENTITY, PAIRS, EditFamily, FamilyPair, make_pair
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import GROUP, VaeStageSpec, VideoVae
from vivace.recipes.tiny_vae import VaeLossWeights, evaluate, reconstruction_loss
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig

Latent = Float[Tensor, "b c t h w"]
Decode = Callable[[Latent], Video]
LIGHT_DECODER = (
    VaeStageSpec(width=160, num_blocks=1),
    VaeStageSpec(width=128, num_blocks=2, has_memory=True),
    VaeStageSpec(width=64, num_blocks=4, has_memory=True),
    VaeStageSpec(width=16, num_blocks=1),
)
Stages = tuple[VaeStageSpec, VaeStageSpec, VaeStageSpec, VaeStageSpec]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderRun:
    """Everything that decides a run.

    Attributes:
        decoder: The new decoder, as in `VideoVaeSpec`.
        batch: Clips a train step.
        num_raw_frames: Raw frames a clip, 1 + 4 k.
        crop_px: Height and width of a clip, a multiple of 16.
        edited_share: Clips replaced by a programmatic edit of themselves, in [0, 1].
        particle_share: Of these, the share in [0, 1] that gets one with snow or rain.
        edit_groups: Different edits in one batch.
        latent_noise: Largest noise added to a latent, in deviations of its channel: an editor's latents are
            not an encoder's.
        perceptual_frame_stride: Only every n-th raw frame goes through LPIPS.
    """

    trainer: TrainerConfig
    decoder: Stages = LIGHT_DECODER
    sampling: ClipSamplingConfig = field(default_factory=ClipSamplingConfig)
    weights: VaeLossWeights = field(default_factory=VaeLossWeights)
    batch: int = 24
    num_raw_frames: int = 13
    crop_px: int = 160
    edited_share: float = 0.5
    particle_share: float = 0.25
    edit_groups: int = 4
    latent_noise: float = 0.08
    perceptual_frame_stride: int = 2


def decoder_run(minutes: float, num_train_steps: int) -> DecoderRun:
    """The run that made the bundled decoder, sized for one H200; it had 11 minutes of half of one."""
    return DecoderRun(
        trainer=TrainerConfig(
            num_train_steps=num_train_steps,
            learning_rate=6e-4,
            betas=(0.9, 0.99),
            warmup_steps=200,
            final_learning_rate_fraction=0.01,
            ema_decay=0.998,
            autocast="bf16",
            log_every=100,
            save_every_minutes=3.0,
            keep_checkpoints=1,
            budget_minutes=minutes,
        )
    )


def with_decoder(vae: VideoVae, decoder: Stages) -> VideoVae:
    """The same latents with another decoder, which starts from what fits it of the given one."""
    new = VideoVae(replace(vae.spec, decoder=decoder))
    own, given = new.state_dict(), vae.state_dict()
    shared = {name: given[name] for name, x in own.items() if name in given and given[name].shape == x.shape}
    new.load_state_dict(own | shared)
    new.encoder.requires_grad_(False)
    return new


def decoder_batch(run: DecoderRun, clips: ClipStore, seed: int) -> Video:
    """Clips in [-1, 1], the last `edited_share` of them edited; a pure function of the seed."""
    video = clips.sample(seed, run.batch, run.num_raw_frames, run.crop_px, run.crop_px)
    draw = random.Random(seed + 1)
    start = run.batch - round(run.batch * run.edited_share)
    for group in torch.arange(start, run.batch).chunk(run.edit_groups):
        if len(group):
            part = slice(int(group[0]), int(group[-1]) + 1)
            family = _drawn(draw, run.particle_share)
            video[part] = make_pair(video[part], family, draw.getrandbits(31), draw.randrange(1000))
    return video * 2 - 1


_EDITS = tuple(family for family in (*FAMILIES, *PAIRS) if family is not IDENTITY)
_FALLING = tuple(family for family in _EDITS if family.edit.particles is not None)


def _drawn(draw: random.Random, particle_share: float) -> EditFamily | FamilyPair:
    return draw.choice(_FALLING if draw.random() < particle_share else _EDITS)


class DecoderObjective:
    """Picture errors of one batch as a function of the place in the run."""

    def __init__(
        self, run: DecoderRun, clips: ClipStore, vae: VideoVae, lpips: Lpips, decode: Decode
    ) -> None:
        """`vae` makes the latents, in its own dtype; `decode` gives all pictures of unnormalised ones."""
        self.run = run
        self.clips = clips
        self.vae = vae
        self.lpips = lpips
        self.decode = decode

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int, /) -> Loss:
        """The weighted sum of pixel, perceptual, motion and Haar losses."""
        run, device = self.run, self.clips.device
        seed = step_seed(run.trainer.seed, train_step, micro_batch)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            video = decoder_batch(run, self.clips, seed)
            latent = self._noisy_latent(video, seed)
        decoded = self.decode(latent)[:, :, GROUP - 1 :].float()
        first = train_step % run.perceptual_frame_stride
        seen = slice(first, None, run.perceptual_frame_stride)
        total, parts = reconstruction_loss(decoded, video, self.lpips, run.weights, seen)
        return Loss(total=total, parts=parts, num_samples=run.batch)

    def _noisy_latent(self, video: Video, seed: int) -> Latent:
        latent, _ = self.vae.encode(video.to(next(self.vae.parameters()).dtype), None)
        latent = latent.float()
        generator = torch.Generator(latent.device).manual_seed(seed)
        unit = torch.randn(latent.shape, generator=generator, device=latent.device)
        level = torch.rand((latent.shape[0], 1, 1, 1, 1), generator=generator, device=latent.device)
        noisy = latent + unit * level * self.run.latent_noise
        std, mean = (x.float()[:, None, None, None] for x in (self.vae.latent_std, self.vae.latent_mean))
        return noisy * std + mean


def _all_pictures(vae: VideoVae) -> Decode:
    def decode(latent: Latent) -> Video:
        return vae.decoder(latent, None)[0]

    return decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Train a lighter decoder for the latents of the bundled video VAE.

    Attributes:
        start_from: Folder of the VAE whose latents stay.
        data: Folder of training clips (`python -m vivace.recipes.tiny_footage`).
        lpips: LPIPS weights, safetensors.
        out: Folder of this run; run the command again to resume. Holds the whole VAE at the end.
        eval: Folder of clips that are never trained on.
        compile: Whether the decoder is compiled, on a GPU.
    """

    start_from: Path
    data: Path
    lpips: Path
    out: Path
    eval: Path | None = None
    minutes: Annotated[float, tyro.conf.arg(help="training time, evaluation not included")] = 14.0
    num_train_steps: int = 100_000
    device: str = "cuda"
    compile: bool = True


def train_decoder(
    run: DecoderRun, old: VideoVae, clips: ClipStore, lpips: Lpips, out: Path, *, use_compile: bool
) -> VideoVae:
    """Train (or resume) in `out` and export averaged weights in bf16, encoder and statistics unchanged."""
    torch.manual_seed(run.trainer.seed)
    vae = with_decoder(old.float(), run.decoder).to(clips.device)
    # the encoder is frozen: in bf16 it makes the latents that the editor is given
    frozen = VideoVae(old.spec).to(clips.device, torch.bfloat16 if clips.device.type == "cuda" else None)
    frozen.load_state_dict(old.state_dict())
    decode = _all_pictures(vae)
    if use_compile:
        decode = torch.compile(decode, dynamic=False)
    objective = DecoderObjective(run, clips, frozen.requires_grad_(False), lpips, decode)
    trainer = Trainer(run.trainer, vae, objective, out, run, clips.device)
    result = trainer.fit()
    print(result)
    if not result.is_finished:
        raise SystemExit(f"stopped before the end, nothing is exported; run it again to resume from {out}")
    vae.load_state_dict(vae.state_dict() | trainer.inference_weights())
    vae.to(torch.bfloat16).eval().save(out)
    return vae


def main(arguments: Arguments) -> None:
    """Train, export and measure."""
    if arguments.out.resolve() == arguments.start_from.resolve():
        raise SystemExit(
            f"got {arguments.out} for both folders; name another one than --start-from for --out"
        )
    run = decoder_run(arguments.minutes, arguments.num_train_steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    clips = ClipStore.load(arguments.data, arguments.device, sampling=run.sampling)
    lpips = Lpips.load(arguments.lpips).to(arguments.device)
    old = VideoVae.load(arguments.start_from)
    use_compile = arguments.compile and clips.device.type == "cuda"
    vae = train_decoder(run, old, clips, lpips, arguments.out, use_compile=use_compile)
    if arguments.eval is not None:
        held_out = ClipStore.load(arguments.eval, arguments.device)
        metrics = evaluate(vae, lpips, held_out, arguments.out)
        write_config(metrics, arguments.out / "metrics.json")
        for name, values in metrics.items():
            print(name, {key: round(value, 4) for key, value in values.items()})


if __name__ == "__main__":
    main(tyro.cli(Arguments))
