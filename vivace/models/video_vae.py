"""The bundled streaming video VAE: a small causal autoencoder that is fast on CPUs; owns no training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vivace.core.config import read_config, write_config
from vivace.core.errors import ConfigError, StateError, WeightsError
from vivace.core.grid import LatentGrid
from vivace.layers.causal_conv import CausalConv
from vivace.layers.pixel_patches import stack_patches, unstack_patches
from vivace.state.conv import ConvTail

WEIGHTS_NAME = "video_vae.safetensors"
SPEC_NAME = "video_vae.json"
GROUP = 4
PATCH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeStageSpec:
    """Residual blocks at one resolution; `has_memory` lets the first block see the frame before."""

    width: int
    num_blocks: int
    has_memory: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoVaeSpec:
    """Sizes of a `VideoVae`; the strides (4 in time, 16 in space) are its structure.

    `encoder` holds the stages at 1/4, 1/8 and 1/16 of the picture (4, 2 and 1 frames a latent frame),
    `decoder` those at 1/16, 1/8, 1/4 and 1/2 (1, 2, 4 and 4 frames a latent frame).
    """

    latent_channels: int = 48
    encoder: tuple[VaeStageSpec, VaeStageSpec, VaeStageSpec] = (
        VaeStageSpec(width=64, num_blocks=3),
        VaeStageSpec(width=112, num_blocks=1, has_memory=True),
        VaeStageSpec(width=128, num_blocks=1),
    )
    decoder: tuple[VaeStageSpec, VaeStageSpec, VaeStageSpec, VaeStageSpec] = (
        VaeStageSpec(width=160, num_blocks=1),
        VaeStageSpec(width=128, num_blocks=2, has_memory=True),
        VaeStageSpec(width=64, num_blocks=5, has_memory=True),
        VaeStageSpec(width=32, num_blocks=1),
    )

    def __post_init__(self) -> None:
        stages = (*self.encoder, *self.decoder)
        if self.latent_channels < 1 or any(stage.width < 1 or stage.num_blocks < 1 for stage in stages):
            raise ConfigError("VideoVaeSpec: latent_channels, widths and num_blocks must be at least 1")

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents."""
        return LatentGrid(temporal_stride=GROUP, spatial_stride=PATCH * 4)


@dataclass(frozen=True, slots=True)
class EncoderState:
    """What the encoder remembers of a stream: one tail for every convolution that looks back."""

    tails: tuple[ConvTail, ...]


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What the decoder remembers of a stream: one tail for every convolution that looks back."""

    tails: tuple[ConvTail, ...]


class _Tails:
    """Hands the tails of a state out in order and collects the next ones."""

    def __init__(self, tails: Sequence[ConvTail] | None) -> None:
        self._given: Iterator[ConvTail] | None = None if tails is None else iter(tails)
        self.next: list[ConvTail] = []

    def run(self, conv: CausalConv, x: Tensor, *, has_silu: bool = False) -> Tensor:
        if conv.tail_frames == 0:
            return conv(x, None, has_silu=has_silu)[0]
        y, tail = conv(x, None if self._given is None else next(self._given), has_silu=has_silu)
        self.next.append(tail)
        return y


class _PositionNorm(nn.Module):
    """RMS normalisation of every position by itself, so that where a stream is cut cannot change it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        # One dtype for both, or the fused kernel is not taken.
        y = F.rms_norm(
            rearrange(x, "b c t h w -> b t h w c"), self.weight.shape, self.weight.to(x.dtype), 1e-6
        )
        return rearrange(y, "b t h w c -> b c t h w")


class _Block(nn.Module):
    """x + conv(act(conv(act(norm(x)))))."""

    def __init__(self, width: int, *, temporal_kernel: int, use_norm: bool) -> None:
        super().__init__()
        self.norm = _PositionNorm(width) if use_norm else None
        self.conv_1 = CausalConv(width, width, temporal_kernel=temporal_kernel)
        self.conv_2 = CausalConv(width, width)
        # Blocks start near the identity; without it the stages without norms start too loud.
        nn.init.normal_(self.conv_2.conv.weight, std=0.1 / (3 * width**0.5))

    def forward(self, x: Tensor, tails: _Tails) -> Tensor:
        y = x
        if self.norm is not None:
            y = self.norm(x)
        y = tails.run(self.conv_1, F.silu(y), has_silu=True)
        # x is what a convolution before this block made: nobody else holds it
        return self.conv_2.add_to_(x, y)


class _Stage(nn.Module):
    """The blocks of one resolution; norms are dear at 1/4 and 1/2, where stages do without."""

    def __init__(self, spec: VaeStageSpec, *, use_norm: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(spec.width, temporal_kernel=2 if spec.has_memory and i == 0 else 1, use_norm=use_norm)
            for i in range(spec.num_blocks)
        )

    def forward(self, x: Tensor, tails: _Tails) -> Tensor:
        for block in self.blocks:
            x = block(x, tails)
        return x


class _Merge(nn.Module):
    """Half the size in space and in time: 2 x 2 x 2 neighbours stacked in channels, then mixed."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = CausalConv(in_channels * 8, out_channels, spatial_kernel=1)

    def forward(self, x: Tensor, tails: _Tails) -> Tensor:
        x = rearrange(x, "b c (t k) (h i) (w j) -> b t h w (k i j c)", k=2, i=2, j=2)
        return tails.run(self.mix, rearrange(x, "b t h w c -> b c t h w"))


class _Split(nn.Module):
    """Twice the size in space and `frames` times in time: mixed into channels, then laid out."""

    def __init__(self, in_channels: int, out_channels: int, *, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.mix = CausalConv(in_channels, out_channels * frames * 4, spatial_kernel=1)

    def forward(self, x: Tensor, tails: _Tails) -> Tensor:
        x = rearrange(tails.run(self.mix, x), "b c t h w -> b t h w c")
        x = rearrange(x, "b t h w (k i j c) -> b (t k) (h i) (w j) c", k=self.frames, i=2, j=2)
        return rearrange(x, "b t h w c -> b c t h w")


class VideoEncoder(nn.Module):
    """Groups of 4 raw frames to one latent frame each."""

    def __init__(self, spec: VideoVaeSpec) -> None:
        super().__init__()
        quarter, eighth, sixteenth = spec.encoder
        self.enter = CausalConv(3 * PATCH**2, quarter.width)
        self.at_4 = _Stage(quarter, use_norm=False)
        self.merge_1 = _Merge(quarter.width, eighth.width)
        self.at_8 = _Stage(eighth, use_norm=True)
        self.merge_2 = _Merge(eighth.width, sixteenth.width)
        self.at_16 = _Stage(sixteenth, use_norm=True)
        self.leave = CausalConv(sixteenth.width, spec.latent_channels)
        self._is_packed = False

    def forward(
        self, video: Float[Tensor, "b c r h w"], state: EncoderState | None
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], EncoderState]:
        """`video` holds whole groups (the first frame of a stream already repeated)."""
        tails = _Tails(None if state is None else state.tails)
        if self._is_packed:
            x = stack_patches(video, PATCH)
        else:
            x = rearrange(video, "b c r (h i) (w j) -> b r h w (i j c)", i=PATCH, j=PATCH)
            x = rearrange(x, "b r h w c -> b c r h w")
        x = tails.run(self.enter, x)
        x = self.merge_1(self.at_4(x, tails), tails)
        x = self.merge_2(self.at_8(x, tails), tails)
        x = tails.run(self.leave, self.at_16(x, tails))
        return x, EncoderState(tuple(tails.next))

    def pack(self) -> None:
        """See `VideoVae.pack`."""
        self._is_packed = True
        for conv in _convs_of(self):
            conv.pack()


class VideoDecoder(nn.Module):
    """Latent frames to groups of 4 raw frames each."""

    def __init__(self, spec: VideoVaeSpec) -> None:
        super().__init__()
        sixteenth, eighth, quarter, half = spec.decoder
        self.enter = CausalConv(spec.latent_channels, sixteenth.width, temporal_kernel=3)
        self.at_16 = _Stage(sixteenth, use_norm=True)
        self.split_1 = _Split(sixteenth.width, eighth.width, frames=2)
        self.at_8 = _Stage(eighth, use_norm=True)
        self.split_2 = _Split(eighth.width, quarter.width, frames=2)
        self.at_4 = _Stage(quarter, use_norm=False)
        self.split_3 = _Split(quarter.width, half.width, frames=1)
        self.at_2 = _Stage(half, use_norm=False)
        self.leave = CausalConv(half.width, 12)
        self._is_packed = False

    def forward(
        self, latent: Float[Tensor, "b c t h w"], state: DecoderState | None
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], DecoderState]:
        """All 4 pictures of every latent frame, also of the first; values are not clamped."""
        tails = _Tails(None if state is None else state.tails)
        x = self.split_1(self.at_16(tails.run(self.enter, latent), tails), tails)
        x = self.split_2(self.at_8(x, tails), tails)
        x = self.split_3(self.at_4(x, tails), tails)
        x = tails.run(self.leave, F.silu(self.at_2(x, tails)))
        if self._is_packed:
            video = unstack_patches(x, 2)
        else:
            x = F.pixel_shuffle(rearrange(x, "b c r h w -> (b r) c h w"), 2)
            video = rearrange(x, "(b r) c h w -> b c r h w", b=latent.shape[0])
        return video, DecoderState(tuple(tails.next))

    def pack(self) -> None:
        """See `VideoVae.pack`."""
        self._is_packed = True
        # the weights give row, column and colour in the order of `pixel_shuffle`
        order = torch.arange(12).view(3, 2, 2).permute(1, 2, 0).flatten().tolist()
        for conv in _convs_of(self):
            conv.pack(order if conv is self.leave else None)


def _convs_of(network: nn.Module) -> list[CausalConv]:
    return [module for module in network.modules() if isinstance(module, CausalConv)]


class VideoVae(nn.Module):
    """A causal video autoencoder: strides 4 in time and 16 in space, exact for any cut into pushes.

    Latent frame 0 holds raw frame 0 alone. Inside, that frame is repeated to a full group, so that every
    latent frame is the same kind of thing; decoding drops the 3 surplus pictures of latent frame 0. Latents
    are normalised to about zero mean and unit variance a channel by statistics stored with the weights.
    States are values: nothing is changed in place, so whoever keeps an old state can go back to it.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, spec: VideoVaeSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = VideoEncoder(spec)
        self.decoder = VideoDecoder(spec)
        self.register_buffer("latent_mean", torch.zeros(spec.latent_channels))
        self.register_buffer("latent_std", torch.ones(spec.latent_channels))

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents."""
        return self.spec.grid

    def encode(
        self, video: Float[Tensor, "b c r h w"], state: EncoderState | None
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], EncoderState]:
        """Normalised latent frames of the next raw frames (values in [-1, 1]) and the next state.

        A stream starts with `state` None and 1 + 4 k raw frames; later pushes hold 4 k.

        Raises:
            StateError: If the number of raw frames is another one, or `state` is of another stream's size.
            ConfigError: If 16 does not divide the picture.
        """
        latent, next_state = self.encoder(self._whole_groups(video, state is None), state)
        mean, std = self._statistics(latent)
        return (latent - mean) / std, next_state

    def decode(
        self, latent: Float[Tensor, "b c t h w"], state: DecoderState | None
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], DecoderState]:
        """The raw frames (clamped to [-1, 1]) of the next normalised latent frames, and the next state.

        `state` None starts a stream: the first latent frame then gives 1 raw frame, every other one gives 4.

        Raises:
            StateError: If `state` belongs to a stream of another size.
        """
        mean, std = self._statistics(latent)
        video, next_state = self.decoder(latent * std + mean, state)
        if state is None:
            video = video[:, :, GROUP - 1 :]
        return video.clamp(-1, 1), next_state

    def autoencode(
        self, video: Float[Tensor, "b c r h w"], noise: Float[Tensor, "b c2 t h2 w2"] | float
    ) -> tuple[Float[Tensor, "b c r h w"], Float[Tensor, "b c2 t h2 w2"]]:
        """For training: whole clips (1 + 4 k raw frames) decoded from latent + `noise`, and the clean latent.

        The same forwards as streaming with new streams; the latent is not normalised, the video not clamped.
        """
        latent, _ = self.encoder(self._whole_groups(video, True), None)
        decoded, _ = self.decoder(latent + noise, None)
        return decoded[:, :, GROUP - 1 :], latent

    def pack(self) -> None:
        """Let a trained VAE serve on a CPU with packed weights and fused operations, in its present dtype.

        Apply it last, where `vivace.layers.packed.can_pack` says so: the VAE can be neither trained, saved
        nor moved afterwards. States are those of the plain VAE, and results differ from its by rounding.
        """
        self.requires_grad_(False)
        self.encoder.pack()
        self.decoder.pack()

    def set_latent_statistics(self, mean: Float[Tensor, "c"], std: Float[Tensor, "c"]) -> None:
        """Store the mean and standard deviation of every latent channel over the training data."""
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    def save(self, folder: Path) -> None:
        """Write the weights in their present precision, and the spec as JSON, each in one step."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        part = folder / f"{WEIGHTS_NAME}.part"
        save_file(tensors, part)
        part.replace(folder / WEIGHTS_NAME)
        write_config(self.spec, folder / SPEC_NAME)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32) -> Self:
        """The VAE that `save` wrote, in evaluation mode.

        Raises:
            ConfigError: If the spec is missing or does not fit this version.
            WeightsError: If the weights are missing or do not fit the spec exactly.
        """
        vae = cls(read_config(VideoVaeSpec, folder / SPEC_NAME))
        if not (folder / WEIGHTS_NAME).is_file():
            raise WeightsError(
                f"no weights at {folder / WEIGHTS_NAME}; expected a safetensors file beside the spec"
            )
        given, wanted = load_file(folder / WEIGHTS_NAME), vae.state_dict()
        for name in sorted(given.keys() | wanted.keys()):
            shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (given, wanted)]
            if shapes[0] != shapes[1]:
                raise WeightsError(
                    f"{WEIGHTS_NAME}: {name} has shape {shapes[0]}, the spec asks for {shapes[1]}"
                )
        vae.load_state_dict(given)
        return vae.to(dtype).eval()

    def _whole_groups(self, video: Tensor, starts_stream: bool) -> Tensor:
        num_frames = video.shape[2]
        self.grid.latent_size(video.shape[3], video.shape[4])
        if num_frames < 1 or num_frames % GROUP != (1 if starts_stream else 0):
            expected = (
                "1 + 4 k at the start of a stream" if starts_stream else "4 k after the start of a stream"
            )
            raise StateError(
                f"got {num_frames} raw frames to encode, expected {expected}; gather or repeat frames"
            )
        if not starts_stream:
            return video
        return torch.cat([repeat(video[:, :, 0], "b c h w -> b c r h w", r=GROUP - 1), video], dim=2)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = rearrange(self.latent_mean, "c -> 1 c 1 1 1").to(like.dtype)
        return mean, rearrange(self.latent_std, "c -> 1 c 1 1 1").to(like.dtype)
