"""Official SANA-Streaming (V2V) names to StreamingDit names and back."""

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from vivace.core.errors import WeightsError
from vivace.models.adapters.checkpoint import warn_unknown

Variant = Literal["streaming", "bidirectional"]

# parameters that exist in official files but enter no computation
DROPPED = (
    re.compile(r"^pos_embed$"),  # buffer of absolute positions, replaced by RoPE
    re.compile(r"^y_embedder\.y_embedding$"),  # null caption of training-time dropout
)
# the streaming softmax blocks store q and k as convolutions of which only this tap is read
CENTER_TAP = 1

_TOP = {
    "t_embedder.mlp.0.": "timestep.hidden.",
    "t_embedder.mlp.2.": "timestep.out.",
    "t_block.1.": "shared_modulation.",
    "y_embedder.y_proj.fc1.": "text_hidden.",
    "y_embedder.y_proj.fc2.": "text_out.",
    "attention_y_norm.": "text_norm.",
    "final_layer.linear.": "final.",
}
_BLOCK = {
    "attn.qkv.": "mixer.qkv.",
    "attn.q_norm.": "mixer.query_norm.",
    "attn.k_norm.": "mixer.key_norm.",
    "attn.proj.": "mixer.project.",
    "attn.output_gate.": "mixer.output_gate.",
    "attn.beta_proj.": "mixer.write_strength.",
    "attn.gate_proj.": "mixer.decay_gate.",
    "cross_attn.q_linear.": "cross.query.",
    "cross_attn.kv_linear.": "cross.key_value.",
    "cross_attn.proj.": "cross.project.",
    "cross_attn.q_norm.": "cross.query_norm.",
    "cross_attn.k_norm.": "cross.key_norm.",
    "mlp.depth_conv.conv.": "feed_forward.depthwise.",
}
_BLOCK_EXACT = {
    "scale_shift_table": "modulation.table",
    "attn.A_log": "mixer.log_rate",
    "attn.dt_bias": "mixer.rate_bias",
}


def from_official(official: Mapping[str, Tensor], source: str = "the checkpoint") -> dict[str, Tensor]:
    """Our tensors from an official state dict; prefixes `model.` and `module.` are stripped.

    Tensors that enter no computation (`DROPPED`) are left out silently, unknown ones with a warning. Whether
    all that a model needs is there is for `checkpoint.fill` to say.

    Raises:
        WeightsError: If a projection is incomplete.
    """
    official = {re.sub(r"^(model\.|module\.)+", "", name): tensor for name, tensor in official.items()}
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in official.items():
        if any(pattern.match(name) for pattern in DROPPED):
            continue
        block = re.match(r"^blocks\.(\d+)\.(.+)$", name)
        if block is None:
            top = _top_from_official(name, tensor)
            if top is None:
                unknown.append(name)
            else:
                ours.update(top)
            continue
        prefix, rest = f"blocks.{block[1]}.", block[2]
        if rest == "attn.q.weight":
            parts = [_projection(official, f"{prefix}attn.{part}.weight") for part in "qkv"]
            ours[f"{prefix}mixer.qkv.weight"] = torch.cat(parts)
        elif rest not in ("attn.k.weight", "attn.v.weight"):
            our = _block_name(rest)
            if our is None:
                unknown.append(name)
            else:
                ours[prefix + our] = _to_our_layout(our, tensor)
    warn_unknown(unknown, source)
    return ours


def to_official(ours: Mapping[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """The official state dict without the dropped tensors; side taps of convolutional q and k are zero.

    Raises:
        WeightsError: If a name is not one of ours.
    """
    official: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        block = re.match(r"^(blocks\.\d+\.)(.+)$", name)
        if block is None:
            official.update(_top_to_official(name, tensor))
            continue
        prefix, rest = block[1], block[2]
        if rest == "mixer.qkv.weight":
            is_gdn = f"{prefix}mixer.log_rate" in ours
            query, key, value = tensor.chunk(3)
            official[f"{prefix}attn.q.weight"] = _as_stored(query, is_gdn, variant)
            official[f"{prefix}attn.k.weight"] = _as_stored(key, is_gdn, variant)
            official[f"{prefix}attn.v.weight"] = value.clone()
        else:
            official_name, layout = _official_block_name(rest)
            official[prefix + official_name] = layout(tensor)
    return official


def _projection(official: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in official:
        raise WeightsError(f"the checkpoint has no {name}; it is incomplete, pull it again")
    weight = official[name]
    if weight.ndim == 3:
        return weight[:, :, CENTER_TAP if weight.shape[2] == 3 else 0]
    return weight


def _as_stored(weight: Tensor, is_gdn: bool, variant: Variant) -> Tensor:
    if is_gdn:
        return weight[:, :, None].clone()
    if variant == "bidirectional":
        return weight.clone()
    stored = weight.new_zeros(*weight.shape, 3)
    stored[:, :, CENTER_TAP] = weight
    return stored


def _top_from_official(name: str, tensor: Tensor) -> dict[str, Tensor] | None:
    if name == "final_layer.scale_shift_table":
        return {"final_table": tensor}
    if name == "x_embedder.proj.weight":
        return {"embed.weight": tensor.flatten(1)}
    if name == "x_embedder.proj.bias":
        return {"embed.bias": tensor}
    for theirs, our in _TOP.items():
        if name.startswith(theirs):
            return {our + name.removeprefix(theirs): tensor}
    return None


def _top_to_official(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name == "final_table":
        return {"final_layer.scale_shift_table": tensor}
    if name == "embed.weight":
        return {"x_embedder.proj.weight": tensor[:, :, None, None, None]}
    if name == "embed.bias":
        return {"x_embedder.proj.bias": tensor}
    for theirs, our in _TOP.items():
        if name.startswith(our):
            return {theirs + name.removeprefix(our): tensor}
    raise WeightsError(f"{name} is not a tensor of StreamingDit")


def _block_name(rest: str) -> str | None:
    if rest in _BLOCK_EXACT:
        return _BLOCK_EXACT[rest]
    for theirs, our in _BLOCK.items():
        if rest.startswith(theirs):
            return our + rest.removeprefix(theirs)
    special = {
        "mlp.inverted_conv.conv.weight": "feed_forward.expand.weight",
        "mlp.inverted_conv.conv.bias": "feed_forward.expand.bias",
        "mlp.point_conv.conv.weight": "feed_forward.contract.weight",
        "mlp.t_conv.weight": "feed_forward.temporal",
    }
    return special.get(rest)


def _to_our_layout(our: str, tensor: Tensor) -> Tensor:
    match our:
        case "feed_forward.expand.weight" | "feed_forward.contract.weight":
            return tensor[:, :, 0, 0]
        case "feed_forward.temporal":
            return tensor[:, :, :, 0].permute(2, 1, 0).contiguous()
        case _:
            return tensor


def _official_block_name(rest: str):
    same = lambda tensor: tensor  # noqa: E731
    as_conv = lambda tensor: tensor[:, :, None, None]  # noqa: E731
    match rest:
        case "feed_forward.expand.weight":
            return "mlp.inverted_conv.conv.weight", as_conv
        case "feed_forward.expand.bias":
            return "mlp.inverted_conv.conv.bias", same
        case "feed_forward.contract.weight":
            return "mlp.point_conv.conv.weight", as_conv
        case "feed_forward.temporal":
            return "mlp.t_conv.weight", lambda tensor: tensor.permute(2, 1, 0)[:, :, :, None].contiguous()
    for theirs, our in _BLOCK_EXACT.items():
        if rest == our:
            return theirs, same
    for theirs, our in _BLOCK.items():
        if rest.startswith(our):
            return theirs + rest.removeprefix(our), same
    raise WeightsError(f"{rest} is not a block tensor of StreamingDit")
