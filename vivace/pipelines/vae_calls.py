"""Pictures to latents and back: a chunk in one call of the VAE, or a few latent frames at a time."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.core.grid import Chunk
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.pipelines.parts import StreamingVae
from vivace.state.stream_state import StreamState

Latent = Float[Tensor, "b c t h w"]
Frames = UInt8[Tensor, "r h w rgb"]
Pictures = UInt8[Tensor, "b r h2 w2 rgb"]
State = StreamState[Any]


class VaeCalls:
    """How a pipeline calls its VAE; the results are the same for every number of frames a call.

    Args:
        vae: Between pictures and latents.
        device: Where it is.
        dtype: In what it computes.
        frames_per_call: Latent frames a call. None takes a chunk at once and leaves the old state as it was
            until the call has succeeded. A number saves memory: feature maps are those of so many frames,
            and an `Ltx2Vae` then writes the next state over the old one, so that a call that failed
            cannot be tried again.

    Raises:
        ConfigError: If `frames_per_call` is less than 1.
    """

    def __init__(
        self,
        vae: StreamingVae,
        device: torch.device,
        dtype: torch.dtype,
        frames_per_call: int | None = None,
    ) -> None:
        if frames_per_call is not None and frames_per_call < 1:
            raise ConfigError(f"got {frames_per_call} latent frames a VAE call, expected at least 1")
        self.vae = vae
        self.device = device
        self.dtype = dtype
        self.frames_per_call = frames_per_call
        self._overwriting = vae if frames_per_call is not None and isinstance(vae, Ltx2Vae) else None

    def encode(self, frames: Sequence[Frames], state: State | None, chunk: Chunk) -> tuple[Latent, State]:
        """Latents of the raw frames of a chunk of every stream, which lie in main memory."""
        tree, latents, first = self._taken(state), [], 0
        for frame, size in self._pieces(chunk.num_frames):
            num_raw = self.vae.grid.num_raw_frames(size, chunk.start + frame)
            parts = [stream[first : first + num_raw] for stream in frames]
            piece = to_device(parts[0][None] if len(parts) == 1 else torch.stack(parts), self.device)
            # in place behind the conversion: three copies of a chunk would count in the peak
            video = rearrange(piece, "b r h w rgb -> b rgb r h w").to(self.dtype).div_(127.5).sub_(1)
            del piece
            if self._overwriting is None:
                latent, tree = self.vae.encode(video, tree)
            else:
                latent, tree = self._overwriting.encode(video, tree, overwrites=tree is not None)
            latents.append(latent)
            first += num_raw
        latent = latents[0] if len(latents) == 1 else torch.cat(latents, dim=2)
        return latent, StreamState(tree, chunk.stop)

    def decode(
        self, latent: Latent, state: State | None, chunk: Chunk
    ) -> tuple[Pictures, Bool[Tensor, "b"], State]:
        """Raw frames of a chunk's latents, and whether all values of a stream were finite.

        Bytes cannot show the latter.
        """
        tree, first = self._taken(state), 0
        pictures: Tensor | None = None
        are_finite: Tensor | None = None
        for frame, size in self._pieces(chunk.num_frames):
            piece = latent[:, :, frame : frame + size]
            if self._overwriting is None:
                video, tree = self.vae.decode(piece, tree)
            else:
                video, tree = self._overwriting.decode(piece, tree, overwrites=tree is not None)
            # a sum is finite only if every value is, and costs a third of asking each
            is_finite = torch.isfinite(video.flatten(1).sum(1, dtype=torch.float32))
            pixels = video.to(torch.float32, copy=True).add_(1).mul_(127.5).round_().clamp_(0, 255)
            del video
            shown = rearrange(pixels.to(torch.uint8), "b rgb r h w -> b r h w rgb")
            del pixels
            if size == chunk.num_frames:
                return shown, is_finite, StreamState(tree, chunk.stop)
            if pictures is None:
                num_raw = self.vae.grid.num_raw_frames(chunk.num_frames, chunk.start)
                pictures = shown.new_empty(shown.shape[0], num_raw, *shown.shape[2:])
            pictures[:, first : first + shown.shape[1]] = shown
            are_finite = is_finite if are_finite is None else are_finite & is_finite
            first += shown.shape[1]
        assert pictures is not None
        assert are_finite is not None
        return pictures, are_finite, StreamState(tree, chunk.stop)

    def _taken(self, state: State | None) -> Any:
        if state is None:
            return None
        # what will be written over must not be found by anyone else
        return state.peek() if self._overwriting is None else state.take()

    def _pieces(self, num_latents: int) -> Iterator[tuple[int, int]]:
        """First latent frame and number of each call."""
        size = num_latents if self.frames_per_call is None else self.frames_per_call
        for frame in range(0, num_latents, size):
            yield frame, min(size, num_latents - frame)


def to_device(host: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, without waiting for it."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
