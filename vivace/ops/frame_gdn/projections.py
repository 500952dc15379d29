"""What a gated-delta layer projects from its tokens, before norms, gates and rotation."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from vivace.ops.frame_gdn.inputs import FrameGdnInputs
from vivace.ops.rotary import rotate

NORM_EPS = 1e-5


class GdnProjections(NamedTuple):
    """Projections of the tokens of consecutive latent frames.

    `query`, `key` and `value` come straight from their linear layers, all heads side by side. `query_scale`
    and `key_scale` are the weights of their RMS norms over all channels. `write_logit` gives the write
    strength of every token, the frame mean of `decay_logit` the forgetting factor of the frame, with
    `log_rate` and `rate_bias` per head. `output_logit` gates the result.
    """

    query: Float[Tensor, "b t s dim"]
    key: Float[Tensor, "b t s dim"]
    value: Float[Tensor, "b t s dim"]
    query_scale: Float[Tensor, "dim"]
    key_scale: Float[Tensor, "dim"]
    table: Complex[Tensor, "t s half"]
    write_logit: Float[Tensor, "b t s heads"]
    decay_logit: Float[Tensor, "b t s heads"]
    log_rate: Float[Tensor, "heads"]
    rate_bias: Float[Tensor, "heads"]
    output_logit: Float[Tensor, "b t s dim"]

    def inputs(self) -> FrameGdnInputs:
        """The arguments of the frame-wise gated delta rule.

        Source: SANA-WM, Eq. 3 to 5: RMS norm over all channels, ReLU, keys scaled by 1/sqrt(dk s).
        """
        heads = self.write_logit.shape[-1]
        query, key = _split(self._norm(self.query, self.query_scale), heads), self._key(heads)
        query = query.to(self._wide)
        return FrameGdnInputs(
            query=query,
            key=key,
            rotated_query=rotate(query, self.table),
            rotated_key=rotate(key, self.table),
            value=_split(self.value, heads),
            beta=rearrange(self.write_logit.to(self._wide).sigmoid(), "b t s heads -> b heads t s"),
            decay=rearrange(self.decay(), "b t heads -> b heads t"),
        )

    def decay(self) -> Float[Tensor, "b t heads"]:
        """Forgetting factor of every frame and head, in (0, 1)."""
        rate = F.softplus(self.decay_logit.to(self._wide).mean(dim=2) + self.rate_bias.to(self._wide))
        return torch.exp(-self.log_rate.to(self._wide).exp() * rate)

    def gated(self, mixed: Float[Tensor, "b heads t s d"]) -> Float[Tensor, "b t s dim"]:
        """Heads side by side again, through the output gate."""
        out = rearrange(mixed, "b heads t s d -> b t s (heads d)")
        return (out * F.silu(self.output_logit)).to(self.value.dtype)

    @property
    def _wide(self) -> torch.dtype:
        return torch.float64 if self.value.dtype == torch.float64 else torch.float32

    def _key(self, heads: int) -> Float[Tensor, "b heads t s d"]:
        key = _split(self._norm(self.key, self.key_scale), heads).to(self._wide)
        return key * (key.shape[-1] * key.shape[-2]) ** -0.5

    def _norm(self, x: Float[Tensor, "b t s dim"], scale: Float[Tensor, "dim"]) -> Float[Tensor, "b t s dim"]:
        return F.relu(F.rms_norm(x.to(self._wide), scale.shape, scale.to(self._wide), NORM_EPS).to(x.dtype))


def _split(x: Float[Tensor, "b t s dim"], heads: int) -> Float[Tensor, "b heads t s d"]:
    return rearrange(x, "b t s (heads d) -> b heads t s d", heads=heads)
