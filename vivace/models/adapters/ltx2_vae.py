"""Official LTX-2 video VAE names to Ltx2Vae names and back; both releases use the same ones."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vivace.models.adapters.checkpoint import warn_unknown

# what a name may carry in front in single-file checkpoints
_PREFIX = re.compile(r"^(?:(?:model|module|vae)\.)+")
# further statistics of the latents, which single-file releases carry; the ones in use have names of their own
IGNORED = (re.compile(r"^per_channel_statistics\."),)

_RULES = (
    (r"latents_(mean|std)", r"latent_\1"),
    (r"(encoder|decoder)\.conv_in\.conv\.(weight|bias)", r"\1.enter.\2"),
    (r"(encoder|decoder)\.conv_out\.conv\.(weight|bias)", r"\1.leave.\2"),
    (
        r"(encoder|decoder)\.mid_block\.resnets\.(\d+)\.conv([12])\.conv\.(weight|bias)",
        r"\1.middle.\2.conv_\3.\4",
    ),
    (
        r"(encoder\.)down_blocks\.(\d+)\.resnets\.(\d+)\.conv([12])\.conv\.(weight|bias)",
        r"\1stages.\2.blocks.\3.conv_\4.\5",
    ),
    (
        r"(encoder\.)down_blocks\.(\d+)\.downsamplers\.0\.conv\.conv\.(weight|bias)",
        r"\1stages.\2.shrink.conv.\3",
    ),
    (
        r"(decoder\.)up_blocks\.(\d+)\.resnets\.(\d+)\.conv([12])\.conv\.(weight|bias)",
        r"\1stages.\2.blocks.\3.conv_\4.\5",
    ),
    (r"(decoder\.)up_blocks\.(\d+)\.upsamplers\.0\.conv\.conv\.(weight|bias)", r"\1stages.\2.grow.conv.\3"),
)
_BACK = (
    (r"latent_(mean|std)", r"latents_\1"),
    (r"(encoder|decoder)\.enter\.(weight|bias)", r"\1.conv_in.conv.\2"),
    (r"(encoder|decoder)\.leave\.(weight|bias)", r"\1.conv_out.conv.\2"),
    (
        r"(encoder|decoder)\.middle\.(\d+)\.conv_([12])\.(weight|bias)",
        r"\1.mid_block.resnets.\2.conv\3.conv.\4",
    ),
    (
        r"(encoder\.)stages\.(\d+)\.blocks\.(\d+)\.conv_([12])\.(weight|bias)",
        r"\1down_blocks.\2.resnets.\3.conv\4.conv.\5",
    ),
    (
        r"(encoder\.)stages\.(\d+)\.shrink\.conv\.(weight|bias)",
        r"\1down_blocks.\2.downsamplers.0.conv.conv.\3",
    ),
    (
        r"(decoder\.)stages\.(\d+)\.blocks\.(\d+)\.conv_([12])\.(weight|bias)",
        r"\1up_blocks.\2.resnets.\3.conv\4.conv.\5",
    ),
    (r"(decoder\.)stages\.(\d+)\.grow\.conv\.(weight|bias)", r"\1up_blocks.\2.upsamplers.0.conv.conv.\3"),
)


def from_official(official: Mapping[str, Tensor], source: str = "the checkpoint") -> dict[str, Tensor]:
    """Our tensors from an official state dict, whole or only of one half; unknown names warn.

    Whether all that a network needs is there is for `checkpoint.fill` to say.
    """
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in official.items():
        bare = _PREFIX.sub("", name)
        if any(pattern.match(bare) for pattern in IGNORED):
            continue
        our = _renamed(bare, _RULES)
        if our is None:
            unknown.append(name)
        else:
            ours[our] = tensor
    warn_unknown(unknown, source)
    return ours


def to_official(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official state dict."""
    named = {_renamed(name, _BACK): tensor for name, tensor in ours.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}


def causal_taps(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights from which a causal decoder is distilled: kernels [a, b, c] become [0, a, b + c].

    Source: SANA-Streaming, causal VAE decoder (initialisation).
    """
    remapped = dict(ours)
    for name, weight in ours.items():
        if name.startswith("decoder.") and name.endswith(".weight"):
            first, middle, last = weight.unbind(dim=2)
            remapped[name] = torch.stack([torch.zeros_like(first), first, middle + last], dim=2)
    return remapped


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match is not None:
            return match.expand(replacement)
    return None
