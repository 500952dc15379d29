"""The axis legend and the tensor aliases of public signatures; see docs/vocabulary.md.

b streams, t latent frames, r raw frames, c channels, h w latent height and width, s tokens per latent frame,
n tokens, m text tokens, heads, d head width (dk, dv where they differ), dim model width, k denoising steps.
"""

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Latent = Float[Tensor, "b c t h w"]
Video = Float[Tensor, "b c r h w"]
Frames = UInt8[Tensor, "r h w c"]
Tokens = Float[Tensor, "b n dim"]
Sigma = Float[Tensor, "b t"]
Text = Float[Tensor, "b m c"]
TextMask = Bool[Tensor, "b m"]
Heads = Float[Tensor, "b heads t s d"]
RecurrentState = Float[Tensor, "b heads dv dk"]
