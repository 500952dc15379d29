"""Train a lighter decoder for the latents of a video VAE that stays as it is.

python -m vivace.recipes.tiny_decoder --start-from VAE --data CLIPS --lpips LPIPS --out RUN --minutes 14

An editor is trained on latents, so the encoder cannot change without it; what turns latents into pictures
can. The new decoder starts from what it shares with the old one and learns as in `tiny_vae`, on edits with
falling particles more often than on others.
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from vivace.catalog.load import choose_device
from vivace.core.config import write_config
from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.core.shapes import Video
from vivace.data.clips import ClipStore
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import GROUP, VaeStageSpec, VideoVae
from vivace.recipes.tiny_vae import TinyVaeConfig, VaeObjective, evaluate, tiny_vae
from vivace.training.trainer import Trainer

Stages = tuple[VaeStageSpec, VaeStageSpec, VaeStageSpec, VaeStageSpec]
LIGHT_DECODER: Stages = (
    VaeStageSpec(width=160, num_blocks=1),
    VaeStageSpec(width=128, num_blocks=2, has_memory=True),
    VaeStageSpec(width=64, num_blocks=4, has_memory=True),
    VaeStageSpec(width=16, num_blocks=1),
)


def tiny_decoder(old: VideoVae, minutes: float) -> TinyVaeConfig:
    """The run that made the bundled decoder, sized for one H200; it had 11 minutes of half of one."""
    run = tiny_vae(minutes)
    return replace(
        run,
        spec=replace(old.spec, decoder=LIGHT_DECODER),
        trainer=replace(run.trainer, learning_rate=6e-4, ema_decay=0.998),
        # the latents are given
        weights=replace(run.weights, scale=0.0),
        edited_share=0.5,
        particle_share=0.25,
        edit_groups=4,
        # an editor's latents are not an encoder's
        latent_noise=0.08,
    )


def with_decoder(vae: VideoVae, decoder: Stages) -> VideoVae:
    """The same latents with another decoder, which starts from what fits it of the given one."""
    new = VideoVae(replace(vae.spec, decoder=decoder))
    own, given = new.state_dict(), vae.state_dict()
    shared = {name: given[name] for name, x in own.items() if name in given and given[name].shape == x.shape}
    new.load_state_dict(own | shared)
    new.encoder.requires_grad_(False)
    return new


class GivenLatents:
    """`VideoVae.autoencode` with the latents of one VAE and the decoder of another."""

    def __init__(self, encoding: VideoVae, decoder: Callable) -> None:
        """`encoding` works in its own dtype, without gradients; `decoder` may be a compiled one."""
        self.encoding = encoding.requires_grad_(False)
        self.decoder = decoder

    def __call__(self, video: Video, noise: Tensor) -> tuple[Video, Tensor]:
        """The video decoded from its normalised latent + `noise`, not clamped, and that latent."""
        vae = self.encoding
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):
            latent = vae.encode(video.to(next(vae.parameters()).dtype), None)[0].float()
            std, mean = (x.float()[:, None, None, None] for x in (vae.latent_std, vae.latent_mean))
            given = (latent + noise) * std + mean
        return self.decoder(given, None)[0][:, :, GROUP - 1 :], latent


def train_decoder(
    run: TinyVaeConfig, old: VideoVae, clips: ClipStore, lpips: Lpips, out: Path, *, use_compile: bool
) -> VideoVae:
    """Train (or resume) in `out` and export averaged weights in bf16, encoder and statistics unchanged.

    Raises:
        SystemExit: If the run was stopped before its end; nothing is exported then.
    """
    torch.manual_seed(run.trainer.seed)
    vae = with_decoder(old.float(), run.spec.decoder).to(clips.device)
    # in bf16, as on a GPU where the editor is trained
    dtype = torch.bfloat16 if clips.device.type == "cuda" else torch.float32
    encoding = copy.deepcopy(old).to(clips.device, dtype)
    # beside the plain one, which measures afterwards at many sizes
    decoder = torch.compile(vae.decoder, dynamic=False) if use_compile else vae.decoder
    objective = VaeObjective(run, clips, lpips, GivenLatents(encoding, decoder))
    trainer = Trainer(run.trainer, vae, objective, out, run, clips.device)
    result = trainer.fit()
    print(result)
    if not result.is_finished:
        raise SystemExit(f"stopped before the end, nothing is exported; run it again to resume from {out}")
    vae.load_state_dict(vae.state_dict() | trainer.inference_weights())
    vae.to(torch.bfloat16).eval().save(out)
    return vae


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
    device: str = "cuda"
    compile: bool = True


def main(arguments: Arguments) -> None:
    """Train, export and measure."""
    if arguments.out.resolve() == arguments.start_from.resolve():
        raise InputError(
            f"got {arguments.out} for both folders; name another one than --start-from for --out"
        )
    device = choose_device(arguments.device)
    old = VideoVae.load(arguments.start_from)
    run = tiny_decoder(old, arguments.minutes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    clips = ClipStore.load(arguments.data, device, sampling=run.sampling)
    lpips = Lpips.load(arguments.lpips).to(device)
    use_compile = arguments.compile and clips.device.type == "cuda"
    vae = train_decoder(run, old, clips, lpips, arguments.out, use_compile=use_compile)
    if arguments.eval is not None:
        held_out = ClipStore.load(arguments.eval, device)
        metrics = evaluate(vae, lpips, held_out, arguments.out)
        write_config(metrics, arguments.out / "metrics.json")
        for name, values in metrics.items():
            print(name, {key: round(value, 4) for key, value in values.items()})


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_decoder"))
