"""SANA-Video names, official and of diffusers, to StreamingDit names and back."""

import re
from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from vivace.core.errors import WeightsError
from vivace.models.adapters import sana_streaming

_TOP_OF_DIFFUSERS = (
    ("patch_embedding.", "x_embedder.proj."),
    ("caption_projection.linear_", "y_embedder.y_proj.fc"),
    ("time_embed.emb.timestep_embedder.linear_1.", "t_embedder.mlp.0."),
    ("time_embed.emb.timestep_embedder.linear_2.", "t_embedder.mlp.2."),
    ("time_embed.linear.", "t_block.1."),
    ("caption_norm.", "attention_y_norm."),
    ("proj_out.", "final_layer.linear."),
    ("scale_shift_table", "final_layer.scale_shift_table"),
)
_BLOCK_OF_DIFFUSERS = (
    ("attn1.to_out.0.", "attn.proj."),
    ("attn2.to_out.0.", "cross_attn.proj."),
    ("attn2.to_q.", "cross_attn.q_linear."),
    ("ff.conv_inverted.", "mlp.inverted_conv.conv."),
    ("ff.conv_depth.", "mlp.depth_conv.conv."),
    ("ff.conv_point.", "mlp.point_conv.conv."),
    ("ff.conv_temp.", "mlp.t_conv."),
    ("scale_shift_table", "scale_shift_table"),
)


def from_official(
    official: Mapping[str, Tensor], patch_size: int, source: str = "the checkpoint"
) -> dict[str, Tensor]:
    """Our tensors from an official state dict; `patch_size` is the model's (2 at 480p, 1 at 720p)."""
    ours = sana_streaming.from_official(official, source)
    for name in ("final.weight", "final.bias"):
        if name in ours:
            # theirs orders the outputs of a token by place and then channel
            ours[name] = rearrange(
                ours[name], "(ph pw c) ... -> (c ph pw) ...", ph=patch_size, pw=patch_size
            ).contiguous()
    return ours


def to_official(ours: Mapping[str, Tensor], patch_size: int) -> dict[str, Tensor]:
    """The official state dict without the tensors that enter no computation.

    Raises:
        WeightsError: If a name is not one of ours.
    """
    fused = {name: tensor for name, tensor in ours.items() if name.endswith("mixer.qkv.weight")}
    rest = {name: tensor for name, tensor in ours.items() if name not in fused}
    sides = {"ph": patch_size, "pw": patch_size}
    for name in ("final.weight", "final.bias"):
        rest[name] = rearrange(rest[name], "(c ph pw) ... -> (ph pw c) ...", **sides).contiguous()
    official = sana_streaming.to_official(rest, "bidirectional")
    official["x_embedder.proj.weight"] = rearrange(
        rest["embed.weight"], "dim (c ph pw) -> dim c 1 ph pw", **sides
    )
    return official | {name.replace("mixer.qkv", "attn.qkv"): tensor for name, tensor in fused.items()}


def from_diffusers(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names for the state dict of diffusers' SanaVideoTransformer3DModel.

    Raises:
        WeightsError: If a projection lacks one of its parts.
    """
    official: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", name)
        if block is None:
            official[_translated(name, _TOP_OF_DIFFUSERS)] = tensor
            continue
        prefix, rest = f"blocks.{block[1]}.", block[2]
        norm = re.fullmatch(r"attn([12])\.norm_([qk])\.weight", rest)
        part = re.fullmatch(r"(attn1\.to_q|attn2\.to_k)\.(weight|bias)", rest)
        if norm is not None:
            layer = "attn" if norm[1] == "1" else "cross_attn"
            official[f"{prefix}{layer}.{norm[2]}_norm.weight"] = tensor
        elif part is not None:
            letters = "qkv" if part[1] == "attn1.to_q" else "kv"
            joined = f"attn.qkv.{part[2]}" if letters == "qkv" else f"cross_attn.kv_linear.{part[2]}"
            names = [name.replace(part[1], part[1][:-1] + letter) for letter in letters]
            missing = [each for each in names if each not in theirs]
            if missing:
                raise WeightsError(f"the checkpoint has no {missing[0]}; it is incomplete, pull it again")
            official[prefix + joined] = torch.cat([theirs[each] for each in names])
        elif not re.match(r"attn1\.to_[kv]\.|attn2\.to_v\.", rest):
            official[prefix + _translated(rest, _BLOCK_OF_DIFFUSERS)] = tensor
    return official


def _translated(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for theirs, official in pairs:
        if name.startswith(theirs):
            return official + name.removeprefix(theirs)
    # left as it is: `from_official` warns about what it does not know
    return name
