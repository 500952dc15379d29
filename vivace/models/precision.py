"""Which linear layers of a streaming transformer run in how many bits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import nn

from vivace.core.errors import ConfigError
from vivace.layers.attention import CrossAttention, SinkWindowAttention
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer
from vivace.layers.quantized import QuantizedLinear
from vivace.ops.fp8_linear import check_fp8

Precision = Literal["bf16", "fp8", "nvfp4"]
LinearGroup = Literal[
    "self_qkv",
    "self_out",
    "cross_query",
    "cross_key_value",
    "cross_out",
    "feed_expand",
    "feed_contract",
    "feed_temporal",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionRule:
    """One group of linear layers in the blocks `first` to `stop` - 1 (None: to the last)."""

    group: LinearGroup
    precision: Precision
    first: int = 0
    stop: int | None = None

    def covers(self, group: LinearGroup, block: int) -> bool:
        """Whether the rule speaks of this layer."""
        return group == self.group and self.first <= block and (self.stop is None or block < self.stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrecisionPolicy:
    """The precision of every linear layer of the blocks: `default`, or what the last fitting rule says.

    Patch embedding, output layer, timestep and text embeddings, attention gates, norms and the depthwise
    convolution always stay as they are; attention and recurrent states too. A search over rules
    (SANA-Streaming's mixed-precision quantisation) needs nothing but this class.

    Source: SANA-Streaming, mixed-precision quantisation: always-bf16 list, layer groups, block ranges.
    Deviation: query, key and value of self-attention are one group, as they are one product here.
    """

    default: Precision = "bf16"
    rules: tuple[PrecisionRule, ...] = ()

    def of(self, group: LinearGroup, block: int) -> Precision:
        """Precision of a group's layer in a block."""
        said: list[Precision] = [rule.precision for rule in self.rules if rule.covers(group, block)]
        return said[-1] if said else self.default


def apply_precision(blocks: nn.ModuleList, policy: PrecisionPolicy) -> int:
    """Replace linear layers of a trained model's blocks by quantised ones; returns how many.

    The blocks then serve only: they have no weights left to train or to save. Apply it last, on the device
    and in the dtype that the model runs in.

    Raises:
        ConfigError: If the GPU has no fp8 products, or a rule names a block that does not exist.
    """
    for rule in policy.rules:
        if not 0 <= rule.first < len(blocks) or (rule.stop is not None and rule.stop <= rule.first):
            raise ConfigError(f"{rule} covers none of the {len(blocks)} blocks; use 0 to {len(blocks) - 1}")
    if any(policy.of(group, i) == "fp8" for group in get_args(LinearGroup) for i in range(len(blocks))):
        check_fp8(next(blocks.parameters()).device)
    replaced = 0
    with torch.no_grad():
        for index, block in enumerate(blocks):
            for group, owner, name in list(_linear_layers(block)):
                precision = policy.of(group, index)
                if precision == "bf16":
                    continue
                if isinstance(owner, GluConvFeedForward) and name == "temporal":
                    owner.quantize_temporal(precision)
                else:
                    layer = cast(nn.Linear, owner.get_submodule(name))
                    setattr(owner, name, QuantizedLinear(layer.weight, layer.bias, precision))
                replaced += 1
    return replaced


def _linear_layers(block: nn.Module) -> Iterator[tuple[LinearGroup, nn.Module, str]]:
    for module in block.modules():
        match module:
            case GdnMixer() | SinkWindowAttention():
                yield "self_qkv", module, "qkv"
                yield "self_out", module, "project"
            case CrossAttention():
                yield "cross_query", module, "query"
                yield "cross_key_value", module, "key_value"
                yield "cross_out", module, "project"
            case GluConvFeedForward():
                yield "feed_expand", module, "expand"
                yield "feed_contract", module, "contract"
                yield "feed_temporal", module, "temporal"
            case _:
                pass
