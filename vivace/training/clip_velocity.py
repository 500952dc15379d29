"""The velocity of whole clips as training needs it: in fp32 or bf16, called or replayed as graphs."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call

from vivace.models.streaming_dit import StreamingDit

Latent = Float[Tensor, "b c t h w"]
# (noisy latent and source by channel, noise level of every frame, prompt features, their mask) -> velocity
Velocity = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class ClipVelocity(nn.Module):
    """Prompt features and noisy clips to velocities, the frames cut into chunks of fixed sizes."""

    def __init__(self, dit: StreamingDit, chunks: Sequence[int]) -> None:
        super().__init__()
        self.dit = dit
        self.chunks = tuple(chunks)

    def forward(
        self,
        latent: Latent,
        sigma: Float[Tensor, "b t"],
        text: Float[Tensor, "b m width"],
        mask: Bool[Tensor, "b m"],
    ) -> Float[Tensor, "b out t h w"]:
        """Velocity of every frame; nothing is remembered."""
        return self.dit(latent, sigma, self.dit.embed_text(text, mask), write=False, chunks=self.chunks)[0]


class HalfClipVelocity(nn.Module):
    """`ClipVelocity` in bf16 with fp32 weights, which are cast once a call.

    Autocast casts around every product instead; here activations stay bf16, as when serving. Gradients
    reach the fp32 weights.
    """

    def __init__(self, dit: StreamingDit, chunks: Sequence[int]) -> None:
        super().__init__()
        self.velocity = ClipVelocity(dit, chunks)

    def forward(
        self,
        latent: Latent,
        sigma: Float[Tensor, "b t"],
        text: Float[Tensor, "b m width"],
        mask: Bool[Tensor, "b m"],
    ) -> Float[Tensor, "b out t h w"]:
        """Velocity of every frame, bf16."""
        weights = {name: weight.bfloat16() for name, weight in self.velocity.named_parameters()}
        with torch.autocast(latent.device.type, enabled=False):
            return functional_call(self.velocity, weights, (latent.bfloat16(), sigma, text.bfloat16(), mask))


def clip_velocity(dit: StreamingDit, chunks: Sequence[int], device: torch.device) -> Velocity:
    """The fastest form for a device: bf16 replayed from graphs on a GPU, fp32 on a CPU."""
    if device.type == "cuda":
        return GraphedVelocity(HalfClipVelocity(dit, chunks))
    return ClipVelocity(dit, chunks)


class GraphedVelocity:
    """Replays forward and backward of a velocity module as CUDA graphs, recorded at the first call.

    A train step of a small model launches thousands of kernels that take less time than their launches. The
    shapes of the first call are those of all calls, and the gradient of a call is overwritten by the next
    backward, so a train step must have one micro-batch.
    """

    def __init__(self, module: ClipVelocity | HalfClipVelocity) -> None:
        self.module = module
        self._replay: Velocity | None = None

    def __call__(self, latent: Tensor, sigma: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """As the module."""
        if self._replay is None:
            # the samples become the buffers that replays read, so they must not be anyone else's
            samples = tuple(
                given.detach().clone().requires_grad_(given.requires_grad)
                for given in (latent, sigma, text, mask)
            )
            # autocast's cache of cast weights would not be recorded
            with torch.autocast(latent.device.type, enabled=False):
                recorded = torch.cuda.make_graphed_callables(self.module, samples, allow_unused_input=True)
            self._replay = cast(Velocity, recorded)
        return self._replay(latent, sigma, text, mask)
