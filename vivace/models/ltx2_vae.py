"""The LTX-2 video VAE as a stream: causal encode and decode, and the tiled decode that looks ahead."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vivace.core.errors import ConfigError, StateError
from vivace.core.grid import LatentGrid
from vivace.layers.causal_conv3d import (
    CausalConv3d,
    ConvBlock,
    Features,
    Grow,
    ResampleSpec,
    Shrink,
    Tails,
)
from vivace.state.conv import ConvTail

PATCH = 4
Video = Float[Tensor, "b c r h w"]
Latent = Float[Tensor, "b c t h w"]
SpatialPadding = Literal["zeros", "reflect"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShrinkStageSpec:
    """Residual blocks, then fewer positions: `stride` in frames, rows and columns, to `out_channels`."""

    num_blocks: int
    out_channels: int
    stride: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowStageSpec:
    """More positions by `stride` in frames, rows and columns, to `out_channels`; then residual blocks."""

    num_blocks: int
    out_channels: int
    stride: tuple[int, int, int] = (2, 2, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ltx2VaeSpec:
    """Sizes of an `Ltx2Vae`; the defaults are those of the released weights.

    Source: facts of Lightricks/LTX-2, subfolder vae, and of the official class's defaults.
    """

    latent_channels: int = 128
    encoder: tuple[ShrinkStageSpec, ...] = (
        ShrinkStageSpec(num_blocks=4, out_channels=256, stride=(1, 2, 2)),
        ShrinkStageSpec(num_blocks=6, out_channels=512, stride=(2, 1, 1)),
        ShrinkStageSpec(num_blocks=6, out_channels=1024, stride=(2, 2, 2)),
        ShrinkStageSpec(num_blocks=2, out_channels=2048, stride=(2, 2, 2)),
    )
    encoder_middle_blocks: int = 2
    decoder_channels: int = 1024
    decoder_middle_blocks: int = 5
    decoder: tuple[GrowStageSpec, ...] = (
        GrowStageSpec(num_blocks=5, out_channels=512),
        GrowStageSpec(num_blocks=5, out_channels=256),
        GrowStageSpec(num_blocks=5, out_channels=128),
    )
    encoder_padding: SpatialPadding = "zeros"
    decoder_padding: SpatialPadding = "reflect"
    scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        down, up = (
            [prod(axis) for axis in zip(*(s.stride for s in x))] for x in (self.encoder, self.decoder)
        )
        if down != up or down[1:2] != down[2:]:
            raise ConfigError(f"Ltx2VaeSpec: strides {down} of the encoder and {up} of the decoder differ")

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents: 8 in time and 32 in space as released."""
        frames, rows, _ = (prod(axis) for axis in zip(*(stage.stride for stage in self.encoder)))
        return LatentGrid(temporal_stride=frames, spatial_stride=PATCH * rows)


@dataclass(frozen=True, slots=True)
class Ltx2EncoderState:
    """What the encoder remembers of a stream: two frames for every convolution."""

    tails: tuple[ConvTail, ...]


@dataclass(frozen=True, slots=True)
class Ltx2DecoderState:
    """What the decoder remembers of a stream: two frames for every convolution."""

    tails: tuple[ConvTail, ...]


class _ShrinkStage(nn.Module):
    def __init__(self, in_channels: int, spec: ShrinkStageSpec, padding: SpatialPadding) -> None:
        super().__init__()
        self.blocks = _blocks(in_channels, spec.num_blocks, padding)
        resample = ResampleSpec(stride=spec.stride)
        self.shrink = Shrink(in_channels, spec.out_channels, resample, padding=padding)

    def forward(self, x: Features, tails: Tails) -> Features:
        return self.shrink(_through(self.blocks, x, tails), tails)


class _GrowStage(nn.Module):
    def __init__(self, in_channels: int, spec: GrowStageSpec, padding: SpatialPadding) -> None:
        super().__init__()
        self.grow = Grow(in_channels, spec.out_channels, ResampleSpec(stride=spec.stride), padding=padding)
        self.blocks = _blocks(spec.out_channels, spec.num_blocks, padding)

    def forward(self, x: Features, tails: Tails) -> Features:
        return _through(self.blocks, self.grow(x, tails), tails)


class Ltx2Encoder(nn.Module):
    """Raw frames to moments of latent frames: 1 + 8 k at the start of a stream, 8 k after it."""

    def __init__(self, spec: Ltx2VaeSpec) -> None:
        super().__init__()
        self.num_latents = spec.latent_channels
        padding = spec.encoder_padding
        widths = [spec.latent_channels, *(stage.out_channels for stage in spec.encoder)]
        self.enter = CausalConv3d(3 * PATCH**2, widths[0], padding=padding)
        self.stages = nn.ModuleList(
            _ShrinkStage(width, stage, padding) for width, stage in zip(widths, spec.encoder)
        )
        self.middle = _blocks(widths[-1], spec.encoder_middle_blocks, padding)
        # the last channel is the log variance, one for all latent channels of a position
        self.leave = CausalConv3d(widths[-1], spec.latent_channels + 1, padding=padding)

    def forward(
        self,
        video: Video,
        state: Ltx2EncoderState | None,
        *,
        with_log_variance: bool = False,
        overwrites: bool = False,
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], Ltx2EncoderState]:
        """Means of the latent frames, on request with the log variance as one more channel."""
        tails = Tails(None if state is None else state.tails, overwrites=overwrites)
        # channels last in memory from here on
        x = Features(
            rearrange(video, "b c r (h i) (w j) -> b r h w (c j i)", i=PATCH, j=PATCH).movedim(-1, 1)
        )
        x = self.enter(x, tails, activate=False)
        x = _through(self.middle, _through(self.stages, x, tails), tails)
        num_outputs = None if with_log_variance else self.num_latents
        moments = self.leave(x, tails, activate=True, num_outputs=num_outputs).total
        return moments, Ltx2EncoderState(tuple(tails.next))


class Ltx2Decoder(nn.Module):
    """Latent frames to raw frames: 1 for the first of a stream, 8 for every other."""

    def __init__(self, spec: Ltx2VaeSpec) -> None:
        super().__init__()
        padding = spec.decoder_padding
        widths = [spec.decoder_channels, *(stage.out_channels for stage in spec.decoder)]
        self.enter = CausalConv3d(spec.latent_channels, widths[0], padding=padding)
        self.middle = _blocks(widths[0], spec.decoder_middle_blocks, padding)
        self.stages = nn.ModuleList(
            _GrowStage(width, stage, padding) for width, stage in zip(widths, spec.decoder)
        )
        self.leave = CausalConv3d(widths[-1], 3 * PATCH**2, padding=padding)

    def forward(
        self,
        latent: Latent,
        state: Ltx2DecoderState | None,
        *,
        looks_ahead: bool = False,
        overwrites: bool = False,
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], Ltx2DecoderState]:
        """Raw frames, not clamped; with `looks_ahead` those of a whole clip, and a state of no use."""
        tails = Tails(None if state is None else state.tails, looks_ahead=looks_ahead, overwrites=overwrites)
        x = self.enter(Features(latent), tails, activate=False)
        x = _through(self.stages, _through(self.middle, x, tails), tails)
        patches = self.leave(x, tails, activate=True).total
        video = rearrange(patches, "b (c j i) r h w -> b c r (h i) (w j)", i=PATCH, j=PATCH)
        return video, Ltx2DecoderState(tuple(tails.next))


class Ltx2Vae(nn.Module):
    """The LTX-2 video VAE: strides 8 in time and 32 in space, exact for any cut of a stream into pushes.

    Latent frame 0 holds raw frame 0 alone. Latents are normalised by statistics that come with the weights.
    States are values: nothing is changed in place, so whoever keeps an old state can go back to it. Only a
    call that `overwrites` puts the next state where the old one lay, which halves what states need.

    Source: official LTX-2 VAE (AutoencoderKLLTX2Video) and its streaming form in SANA-Streaming
    (AutoencoderKLCausalLTX2Video: streaming_causal_encode, decode_per_frame_with_cache).
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, spec: Ltx2VaeSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = Ltx2Encoder(spec)
        self.decoder = Ltx2Decoder(spec)
        self.register_buffer("latent_mean", torch.zeros(spec.latent_channels))
        self.register_buffer("latent_std", torch.ones(spec.latent_channels))

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents."""
        return self.spec.grid

    def encode(
        self, video: Video, state: Ltx2EncoderState | None, *, overwrites: bool = False
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], Ltx2EncoderState]:
        """Normalised latent frames (the mode) of the next raw frames (values in [-1, 1]), and the next state.

        A stream starts with `state` None and 1 + 8 k raw frames; later pushes hold 8 k. With `overwrites` the
        given state is lost, also where the call fails.

        Raises:
            StateError: If the number of raw frames is another one, or `state` is of another stream's size.
            ConfigError: If 32 does not divide the picture.
        """
        stride, num_frames = self.grid.temporal_stride, video.shape[2]
        self.grid.latent_size(video.shape[3], video.shape[4])
        if num_frames < 1 or num_frames % stride != (1 if state is None else 0):
            expected = (
                f"1 + {stride} k at the start of a stream"
                if state is None
                else f"{stride} k after the start of a stream"
            )
            raise StateError(
                f"got {num_frames} raw frames to encode, expected {expected}; gather or repeat frames"
            )
        latent, next_state = self.encoder(video, state, overwrites=overwrites)
        mean, std = self._statistics(latent)
        return (latent - mean) * (self.spec.scaling_factor / std), next_state

    def decode(
        self, latent: Latent, state: Ltx2DecoderState | None, *, overwrites: bool = False
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], Ltx2DecoderState]:
        """The raw frames (clamped to [-1, 1]) of the next normalised latent frames, and the next state.

        `state` None starts a stream: the first latent frame then gives 1 raw frame, every other one gives 8.
        With `overwrites` the given state is lost, also where the call fails. Good pictures need a decoder
        that was trained causally (`ltx2_causal_vae_0516`).

        Raises:
            StateError: If `state` belongs to a stream of another size.
        """
        video, next_state = self.decoder(self._raw_latent(latent), state, overwrites=overwrites)
        return video.clamp(-1, 1), next_state

    def decode_looking_ahead(
        self, latent: Latent, *, tile_frames: int = 3, tile_stride: int = 1
    ) -> Iterator[Float[Tensor, "b c2 r h2 w2"]]:
        """The raw frames (clamped) of a whole clip, tile by tile in time, for decoders that look ahead.

        A tile decodes one latent frame of context and `tile_frames` more, and begins `tile_stride` after the
        tile before it; where two overlap, the new one fades in linearly. The first part has one raw frame
        more than the others.

        Raises:
            ConfigError: If `tile_stride` is not between 1 and `tile_frames`.

        Source: official SANA-Streaming decode (decode_chunk_tile; tiles of 24 raw frames, stride 8).
        """
        if not 1 <= tile_stride <= tile_frames:
            raise ConfigError(f"got a stride of {tile_stride} for tiles of {tile_frames} latent frames")
        return self._tiles(self._raw_latent(latent), tile_frames, tile_stride)

    def _tiles(self, latent: Latent, tile_frames: int, tile_stride: int) -> Iterator[Tensor]:
        stride, before = self.grid.temporal_stride, None
        for start in range(0, max(latent.shape[2] - 1, 1), tile_stride):
            tile, _ = self.decoder(latent[:, :, start : start + tile_frames + 1], None, looks_ahead=True)
            if before is None:
                yield tile[:, :, : tile_stride * stride + 1].clamp(-1, 1)
            else:
                tile = _fade(before, tile[:, :, 1:], (tile_frames - tile_stride) * stride)
                yield tile[:, :, : tile_stride * stride].clamp(-1, 1)
            before = tile

    def _raw_latent(self, latent: Latent) -> Latent:
        mean, std = self._statistics(latent)
        return latent * (std / self.spec.scaling_factor) + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = rearrange(self.latent_mean, "c -> 1 c 1 1 1").to(like.dtype)
        return mean, rearrange(self.latent_std, "c -> 1 c 1 1 1").to(like.dtype)


def _blocks(channels: int, num_blocks: int, padding: SpatialPadding) -> nn.ModuleList:
    return nn.ModuleList(ConvBlock(channels, padding=padding) for _ in range(num_blocks))


def _through(layers: nn.ModuleList, x: Features, tails: Tails) -> Features:
    # torch's ModuleList cannot say what it holds
    for layer in cast(Iterable[nn.Module], layers):
        x = layer(x, tails)
    return x


def _fade(before: Tensor, tile: Tensor, num_frames: int) -> Tensor:
    num_frames = min(num_frames, before.shape[2], tile.shape[2])
    if num_frames == 0:
        return tile
    weight = torch.arange(num_frames, device=tile.device, dtype=tile.dtype)[:, None, None] / num_frames
    mixed = before[:, :, -num_frames:] * (1 - weight) + tile[:, :, :num_frames] * weight
    return torch.cat([mixed, tile[:, :, num_frames:]], dim=2)
