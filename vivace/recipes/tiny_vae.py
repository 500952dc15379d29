"""How the bundled video VAE is trained, measured and exported: `python -m vivace.recipes.tiny_vae --help`."""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from vivace.catalog.load import choose_device
from vivace.core.config import write_config
from vivace.core.exit_code import exit_code_of
from vivace.core.shapes import Video
from vivace.data.clips import ClipSamplingConfig, ClipStore
from vivace.data.edit_pairs import FAMILIES, IDENTITY, PAIRS, EditFamily, FamilyPair, make_pair
from vivace.evaluation.footage import reconstruct
from vivace.evaluation.motion import still_flicker
from vivace.evaluation.picture_scores import pictures, video_scores
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import GROUP, VideoVae, VideoVaeSpec
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig

EDITS = (*(family for family in FAMILIES if family is not IDENTITY), *PAIRS)
FALLING = tuple(family for family in EDITS if family.edit.particles is not None)
STATISTICS_SEED = 7_001
NUM_STATISTICS_BATCHES = 32
STILL_FRAMES = 33


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeLossWeights:
    """Factors of the parts of the loss; pictures in [-1, 1].

    `motion` compares frame-to-frame changes, which is what an eye sees as flicker; `haar` the three
    high-frequency bands of a Haar transform; `scale` keeps latent channels near zero mean and unit deviation.
    """

    pixel: float = 1.0
    perceptual: float = 0.5
    motion: float = 0.5
    haar: float = 0.5
    scale: float = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyVaeConfig:
    """The whole run.

    Attributes:
        trainer: Steps, rates and time.
        spec: The model.
        sampling: How clips are drawn.
        weights: Of the loss parts.
        batch: Clips a train step.
        num_raw_frames: Raw frames a clip, 1 + 4 k.
        crop_px: Height and width of a clip, a multiple of 16.
        edited_share: Clips replaced by a programmatic edit of themselves, so that those decode well too.
        particle_share: Of these, the share in [0, 1] that is drawn from edits with snow or rain alone.
        edit_groups: Different edits in one batch.
        latent_noise: Largest noise added to a latent, in deviations of its channel; it makes latents smooth.
        perceptual_frame_stride: Only every n-th raw frame goes through LPIPS.
    """

    trainer: TrainerConfig
    spec: VideoVaeSpec = field(default_factory=VideoVaeSpec)
    sampling: ClipSamplingConfig = field(default_factory=ClipSamplingConfig)
    weights: VaeLossWeights = field(default_factory=VaeLossWeights)
    batch: int = 24
    num_raw_frames: int = 13
    crop_px: int = 160
    edited_share: float = 0.4
    particle_share: float = 0.0
    edit_groups: int = 3
    latent_noise: float = 0.05
    perceptual_frame_stride: int = 2


def tiny_vae(minutes: float) -> TinyVaeConfig:
    """The run that made the bundled weights, within `minutes` on one H200."""
    return TinyVaeConfig(
        trainer=TrainerConfig(
            num_train_steps=100_000,
            learning_rate=8e-4,
            betas=(0.9, 0.99),
            warmup_steps=200,
            final_learning_rate_fraction=0.01,
            ema_decay=0.999,
            autocast="bf16",
            log_every=100,
            save_every_minutes=3.0,
            keep_checkpoints=1,
            budget_minutes=minutes,
        )
    )


def training_batch(config: TinyVaeConfig, store: ClipStore, seed: int) -> Video:
    """Clips in [-1, 1], the last `edited_share` of them edited; a pure function of the seed."""
    size = config.crop_px
    video = store.sample(seed, config.batch, config.num_raw_frames, size, size)
    draw = random.Random(seed + 1)
    num_edited = round(config.batch * config.edited_share)
    start = config.batch - num_edited
    for group in torch.arange(start, config.batch).chunk(config.edit_groups):
        if len(group):
            part = slice(int(group[0]), int(group[-1]) + 1)
            has_particles = config.particle_share > 0 and draw.random() < config.particle_share
            family = draw.choice(FALLING if has_particles else EDITS)
            video[part] = make_pair(video[part], family, draw.getrandbits(31), draw.randrange(1000))
    return video * 2 - 1


def haar_high_bands(video: Video) -> Float[Tensor, "b bands r h2 w2"]:
    """The horizontal, vertical and diagonal detail of every 2 x 2 square, for each colour."""
    a, b = video[..., 0::2, 0::2], video[..., 0::2, 1::2]
    c, d = video[..., 1::2, 0::2], video[..., 1::2, 1::2]
    return torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def reconstruction_loss(
    decoded: Video, video: Video, lpips: Lpips, weights: VaeLossWeights, seen: slice
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of picture errors, and its parts; only the raw frames `seen` go through LPIPS."""
    perceptual = lpips(pictures(decoded[:, :, seen]), pictures(video[:, :, seen])).mean()
    with torch.autocast(video.device.type, enabled=False):
        error = decoded - video
        pixel = (error.square() + 1e-6).sqrt().mean()
        motion = (error[:, :, 1:] - error[:, :, :-1]).abs().mean()
        haar = haar_high_bands(error).abs().mean()
        total = (
            weights.pixel * pixel
            + weights.perceptual * perceptual
            + weights.motion * motion
            + weights.haar * haar
        )
    parts = {"pixel": pixel, "perceptual": perceptual, "motion": motion, "haar": haar}
    parts["psnr"] = -10 * torch.log10((error.square().mean() / 4).detach())
    return total, {name: part.detach() for name, part in parts.items()}


class VaeObjective:
    """The reconstruction loss of one batch as a function of the place in the run."""

    def __init__(self, config: TinyVaeConfig, store: ClipStore, lpips: Lpips, autoencode: Callable) -> None:
        """Take the data, the perceptual distance and `VideoVae.autoencode` or the like.

        `autoencode` gives the decoded video of clips whose latent got some noise, and the latent without it.
        """
        self.config = config
        self.store = store
        self.lpips = lpips
        self.autoencode = autoencode

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int, /) -> Loss:
        """The weighted sum of pixel, perceptual, motion, Haar and scale losses."""
        seed = step_seed(self.config.trainer.seed, train_step, micro_batch)
        device = self.store.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            video = training_batch(self.config, self.store, seed)
            noise = self._noise(video, seed)
        return self.loss(video, noise, train_step)

    def loss(self, video: Video, noise: Tensor, train_step: int) -> Loss:
        """The loss of given clips in [-1, 1]; `noise` is added to the latent."""
        config, weights = self.config, self.config.weights
        decoded, latent = self.autoencode(video, noise)
        first = train_step % config.perceptual_frame_stride
        seen = slice(first, None, config.perceptual_frame_stride)
        total, parts = reconstruction_loss(decoded.float(), video, self.lpips, weights, seen)
        with torch.autocast(video.device.type, enabled=False):
            latent = latent.float()
            mean = latent.mean(dim=(0, 2, 3, 4))
            deviation = latent.std(dim=(0, 2, 3, 4))
            scale = (mean.square() + (deviation + 1e-4).log().square()).mean()
            total = total + weights.scale * scale
        return Loss(total=total, parts={**parts, "scale": scale.detach()}, num_samples=video.shape[0])

    def _noise(self, video: Video, seed: int) -> Tensor:
        spec = self.config.spec
        grid = spec.grid
        rows, columns = grid.latent_size(video.shape[3], video.shape[4])
        num_latent_frames = grid.num_latent_frames(video.shape[2])
        generator = torch.Generator(video.device).manual_seed(seed)
        shape = (video.shape[0], spec.latent_channels, num_latent_frames, rows, columns)
        unit = torch.randn(shape, generator=generator, device=video.device)
        level = torch.rand((video.shape[0], 1, 1, 1, 1), generator=generator, device=video.device)
        # The scale loss keeps deviations at 1, so absolute noise is relative noise.
        return unit * level * self.config.latent_noise


def compiled_autoencode(vae: VideoVae, config: TinyVaeConfig, device: torch.device) -> Callable:
    """`vae.autoencode` compiled and run once forwards and backwards; the plain one where that fails."""
    size = (config.batch, 3, config.num_raw_frames, config.crop_px, config.crop_px)
    latent = (config.batch, config.spec.latent_channels, 1 + (config.num_raw_frames - 1) // GROUP)
    rows = config.crop_px // config.spec.grid.spatial_stride
    compiled = torch.compile(vae.autoencode, dynamic=False)
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            noise = torch.zeros(*latent, rows, rows, device=device)
            decoded, _ = compiled(torch.zeros(size, device=device), noise)
        decoded.float().mean().backward()
    except Exception as error:  # any failure of the compiler must not cost the run
        print(f"compilation failed, training goes on without it: {type(error).__name__}: {error}")
        compiled = vae.autoencode
    vae.zero_grad(set_to_none=True)
    return compiled


@torch.no_grad()
def measure_latents(vae: VideoVae, config: TinyVaeConfig, store: ClipStore) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every latent channel over training batches."""
    total = torch.zeros(config.spec.latent_channels, dtype=torch.float64, device=store.device)
    squares, count = torch.zeros_like(total), 0
    for i in range(NUM_STATISTICS_BATCHES):
        video = training_batch(config, store, step_seed(STATISTICS_SEED, i, 0))
        _, latent = vae.autoencode(video, 0.0)
        latent = latent.double()
        total += latent.sum(dim=(0, 2, 3, 4))
        squares += latent.square().sum(dim=(0, 2, 3, 4))
        count += latent.numel() // config.spec.latent_channels
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(1e-12).sqrt().float()


def fitted(frames: Tensor, height: int, width: int) -> Video:
    """uint8 raw frames `r h w c` resized to cover height x width, cut in the middle, as a video in [0, 1]."""
    x = rearrange(frames, "r h w c -> r c h w").float() / 255
    zoom = max(height / x.shape[2], width / x.shape[3])
    rows, columns = max(height, round(x.shape[2] * zoom)), max(width, round(x.shape[3] * zoom))
    x = F.interpolate(x, size=(rows, columns), mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (rows - height) // 2, (columns - width) // 2
    return rearrange(x[:, :, top : top + height, left : left + width], "r c h w -> 1 c r h w")


def evaluate(
    vae: VideoVae,
    lpips: Lpips,
    store: ClipStore,
    out: Path,
    *,
    edits: Sequence[EditFamily | FamilyPair] = EDITS,
    height: int = 192,
    width: int = 320,
    limit: int = 97,
) -> dict[str, dict[str, float]]:
    """Scores of every clip (at most `limit` raw frames), of every edit on short clips, and of a still scene.

    Writes reconstructions.png: rows of source and reconstruction.
    """
    results: dict[str, dict[str, float]] = {}
    rows: list[Tensor] = []
    clips = []
    for entry in store.entries:
        num_frames = min(limit, entry.num_frames)
        num_frames = 1 + (num_frames - 1) // GROUP * GROUP
        if num_frames > GROUP:
            clips.append((entry.name, fitted(store.frames(entry)[:num_frames], height, width)))
    for name, video in clips:
        decoded = reconstruct(vae, video)
        results[f"clip/{name}"] = asdict(video_scores(video, decoded, lpips))
        rows.append(_strip(video, decoded))
    for i, family in enumerate(edits):
        pairs = [make_pair(video[:, :, : 2 * GROUP + 1], family, seed=11) for _, video in clips]
        decodings = [reconstruct(vae, edited) for edited in pairs]
        parts = [asdict(video_scores(edited, decoded, lpips)) for edited, decoded in zip(pairs, decodings)]
        results[f"edit/{family.name}"] = {key: sum(p[key] for p in parts) / len(parts) for key in parts[0]}
        rows.append(_strip(pairs[i % len(pairs)], decodings[i % len(pairs)]))
    still = clips[0][1][:, :, :1].expand(-1, -1, STILL_FRAMES, -1, -1)
    settled = reconstruct(vae, still)[:, :, STILL_FRAMES // 2 :]
    flicker_mean, flicker_max = still_flicker(settled)
    results["still"] = {"flicker_levels_mean": flicker_mean, "flicker_levels_max": flicker_max}
    sheet = (torch.cat(rows, dim=0) * 255).round().byte().cpu().numpy()
    Image.fromarray(sheet).save(out / "reconstructions.png")
    return results


def _strip(video: Video, decoded: Video) -> Float[Tensor, "h w c"]:
    """First and last raw frame, source beside reconstruction."""
    last = video.shape[2] - 1
    shown = [x[0, :, i] for i in (0, last) for x in (video, decoded)]
    return rearrange(torch.cat(shown, dim=2), "c h w -> h w c")


def train(config: TinyVaeConfig, store: ClipStore, lpips: Lpips, out: Path, *, use_compile: bool) -> VideoVae:
    """Train (or resume) in `out`, store the latent statistics, export averaged weights in bf16 to `out`."""
    device = store.device
    torch.manual_seed(config.trainer.seed)
    torch.backends.cudnn.benchmark = True
    vae = VideoVae(config.spec).to(device)
    autoencode = compiled_autoencode(vae, config, device) if use_compile else vae.autoencode
    trainer = Trainer(
        config.trainer, vae, VaeObjective(config, store, lpips, autoencode), out, config, device
    )
    trainer.fit()
    vae.load_state_dict(trainer.inference_weights())
    vae.eval()
    vae.set_latent_statistics(*measure_latents(vae, config, store))
    vae.to(torch.bfloat16).save(out)
    return vae


def main() -> None:
    """Train, export and measure."""
    parser = argparse.ArgumentParser(description="Train the bundled video VAE.")
    parser.add_argument("--data", type=Path, required=True, help="folder of training clips")
    parser.add_argument("--lpips", type=Path, required=True, help="LPIPS weights, safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run; resumed if it exists")
    parser.add_argument("--eval", type=Path, default=None, help="folder of clips that are never trained on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=12.0, help="training time, evaluation not included")
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--crop", type=int, default=None, help="height and width of clips, px")
    parser.add_argument("--frames", type=int, default=None, help="raw frames a clip, 1 + 4 k")
    parser.add_argument("--eval-frames", type=int, default=97, help="most raw frames of a clip to measure")
    parser.add_argument("--eval-edits", type=int, default=len(EDITS), help="how many edits to measure")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    config = tiny_vae(args.minutes)
    config = replace(
        config,
        batch=args.batch or config.batch,
        crop_px=args.crop or config.crop_px,
        num_raw_frames=args.frames or config.num_raw_frames,
    )
    device = choose_device(args.device)
    store = ClipStore.load(args.data, device, sampling=config.sampling)
    print(f"{len(store.entries)} files, {sum(e.num_frames for e in store.entries)} pictures")
    lpips = Lpips.load(args.lpips).to(device)
    args.out.mkdir(parents=True, exist_ok=True)
    is_compiled = not args.no_compile and device.type == "cuda"
    vae = train(config, store, lpips, args.out, use_compile=is_compiled)
    if args.eval is not None:
        held_out = ClipStore.load(args.eval, device)
        metrics = evaluate(
            vae, lpips, held_out, args.out, edits=EDITS[: args.eval_edits], limit=args.eval_frames
        )
        write_config(metrics, args.out / "metrics.json")
        for name, values in metrics.items():
            print(name, {key: round(value, 4) for key, value in values.items()})


if __name__ == "__main__":
    sys.exit(exit_code_of(main, "tiny_vae"))
