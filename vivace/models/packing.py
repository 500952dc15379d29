"""Packs the linear layers of a streaming transformer for a CPU that only serves it."""

from collections.abc import Sequence

from torch import nn

from vivace.layers.attention import CrossAttention, SinkWindowAttention
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer
from vivace.layers.packed import PackedLinear


def pack_linear_layers(dit: nn.Module, num_tokens: int) -> None:
    """Give a trained `StreamingDit` on a CPU packed weights, for frames of about that many tokens.

    The model then serves only. Apply it last, in the dtype that the model runs in. What reads the prompt
    stays as it is: it does so once for many chunks.
    """
    dit.requires_grad_(False)
    for module in list(dit.modules()):
        match module:
            case GdnMixer() | SinkWindowAttention():
                module.pack(num_tokens)
                _replace(module, ("project",), num_tokens)
            case CrossAttention():
                _replace(module, ("query", "project"), num_tokens)
            case GluConvFeedForward():
                module.pack(num_tokens)
                _replace(module, ("expand",), num_tokens)
            case _:
                pass
    _replace(dit, ("embed", "final"), num_tokens)
    # the noise level is one row for all tokens
    _replace(dit, ("shared_modulation",), 1)
    _replace(dit.get_submodule("timestep"), ("out",), 1)


def _replace(owner: nn.Module, names: Sequence[str], num_rows: int) -> None:
    for name in names:
        layer = owner.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        setattr(owner, name, PackedLinear.of((layer,), num_rows))
