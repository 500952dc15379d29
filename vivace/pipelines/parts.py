"""What a pipeline asks of its networks; any VAE or prompt encoder of this form fits."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vivace.core.grid import LatentGrid


class StreamingVae(Protocol):
    """A video VAE whose memory of a stream is a value; None starts a stream.

    Every VAE has its own tree of state, which nothing but the VAE itself looks into.
    """

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents."""
        ...

    def encode(
        self, video: Float[Tensor, "b c r h w"], state: Any
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], Any]:
        """Normalised latent frames of the next raw frames (values in [-1, 1]) and the next state."""
        ...

    def decode(
        self, latent: Float[Tensor, "b c t h w"], state: Any
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], Any]:
        """The raw frames (clamped to [-1, 1]) of the next latent frames and the next state."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights."""
        ...

    def eval(self) -> Self:
        """Leave training mode."""
        ...


class TextFeatures(Protocol):
    """What a model is conditioned on: `tokens` and which of them count."""

    @property
    def tokens(self) -> Float[Tensor, "b m c"]:
        """Token features."""
        ...

    @property
    def mask(self) -> Bool[Tensor, "b m"]:
        """True where a token counts."""
        ...


class PromptFeatureSource(Protocol):
    """Turns instructions into token features; may wait for another thread or device."""

    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        """Features of each instruction.

        Raises:
            InputError: If an instruction is empty, too long or not readable.
        """
        ...
