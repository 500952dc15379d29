"""The variants of the bundled editor that the research rows compare, as models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import FrameTokens, GdnMixer, GdnSpec
from vivace.layers.rope import Rotation, rotate
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.ops.fp8_linear import Fp8Rows
from vivace.ops.frame_gdn import FrameGdnInputs, frame_gdn
from vivace.state.recurrent import GdnState

KeyScale = Literal["sqrt_tokens", "l2", "none"]
Variant = Literal[
    "hybrid", "keys_l2", "keys_none", "all_gdn", "all_softmax", "no_sink", "window_1", "window_2"
]


class ScaledKeyMixer(GdnMixer):
    """A GDN mixer whose keys are scaled in another way before they are written."""

    def __init__(self, dim: int, num_heads: int, key_scale: KeyScale) -> None:
        super().__init__(dim, num_heads, GdnSpec())
        self.key_scale: KeyScale = key_scale

    def forward(
        self,
        x: FrameTokens,
        table: Rotation,
        state: GdnState | None,
        chunks: Sequence[int],
        *,
        rows: Fp8Rows | None = None,
    ) -> tuple[FrameTokens, GdnState]:
        """As the class it stands in for, but for the keys; training has no 8-bit rows."""
        numerator, denominator = (None, None) if state is None else (state.numerator, state.denominator)
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        query, key = self._heads(F.relu(self.query_norm(query))), self._heads(F.relu(self.key_norm(key)))
        query, key = query.float(), self._scaled(key.float())
        rate = F.softplus(self.decay_gate(x.mean(dim=2)).float() + self.rate_bias.float())
        inputs = FrameGdnInputs(
            query=query,
            key=key,
            rotated_query=rotate(query, table),
            rotated_key=rotate(key, table),
            value=self._heads(value),
            beta=rearrange(self.write_strength(x).float().sigmoid(), "b t s heads -> b heads t s"),
            decay=rearrange(torch.exp(-self.log_rate.float().exp() * rate), "b t heads -> b heads t"),
        )
        mixed, numerator, denominator = frame_gdn(inputs, chunks, numerator, denominator)
        out = rearrange(mixed, "b heads t s d -> b t s (heads d)") * F.silu(self.output_gate(x))
        return self.project(out.to(x.dtype)), GdnState(numerator, denominator)

    def _scaled(self, key: Float[Tensor, "b heads t s d"]) -> Float[Tensor, "b heads t s d"]:
        match self.key_scale:
            case "sqrt_tokens":
                return key * (key.shape[-1] * key.shape[-2]) ** -0.5
            case "l2":
                return F.normalize(key, dim=-1)
            case "none":
                return key

    def _heads(self, x: FrameTokens) -> Float[Tensor, "b heads t s d"]:
        return rearrange(x, "b t s (heads d) -> b heads t s d", heads=self.num_heads)


def build(variant: Variant, base: DitSpec) -> StreamingDit:
    """The model of a row, untrained."""
    softmax = base.mixers[-1]
    assert isinstance(softmax, SoftmaxSpec)
    num_blocks = len(base.mixers)
    match variant:
        case "all_gdn":
            spec = replace(base, mixers=(GdnSpec(),) * num_blocks)
        case "all_softmax":
            spec = replace(base, mixers=(softmax,) * num_blocks)
        case "no_sink":
            spec = replace(
                base, mixers=hybrid_mixers(num_blocks, 2, GdnSpec(), replace(softmax, num_sink_frames=0))
            )
        case "window_1" | "window_2":
            narrow = replace(softmax, window_frames=int(variant[-1]))
            spec = replace(base, mixers=hybrid_mixers(num_blocks, 2, GdnSpec(), narrow))
        case "hybrid" | "keys_l2" | "keys_none":
            spec = base
    model = StreamingDit(spec)
    scales: dict[str, KeyScale] = {"keys_l2": "l2", "keys_none": "none"}
    if variant in scales:
        for block in model.blocks:
            if isinstance(block.mixer, GdnMixer):
                block.mixer = ScaledKeyMixer(spec.dim, spec.num_heads, scales[variant])
    return model
