"""3 x 3 x 3 convolutions over streams, and the layers of a video VAE that are made of them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.errors import StateError
from vivace.ops.conv_input import Padding, Past, conv_input
from vivace.ops.resample import Stride, grown, shrunk
from vivace.state.conv import ConvTail

KERNEL = 3
Frames = Float[Tensor, "b c t h w"]


class Terms(NamedTuple):
    """What a sum of features is made of."""

    update: Frames
    base: Frames | None
    bias: Float[Tensor, "c"] | None

    @property
    def total(self) -> Frames:
        """The sum."""
        total = self.update if self.bias is None else self.update + self.bias[:, None, None, None]
        return total if self.base is None else self.base + total


class Features:
    """The sum base + update + bias, not yet formed: whoever reads it next forms it in the same pass.

    It can be taken once and is empty afterwards, so that callers further out, who still hold it, do not keep
    feature maps that nobody reads any more: of a picture's largest ones, three live at a time instead of six.
    """

    __slots__ = ("_terms",)

    def __init__(
        self, update: Frames, base: Frames | None = None, bias: Float[Tensor, "c"] | None = None
    ) -> None:
        self._terms: Terms | None = Terms(update, base, bias)

    @property
    def total(self) -> Frames:
        """The sum, for who does not take it."""
        return self._present().total

    def take(self) -> Terms:
        """The terms, for good.

        Raises:
            StateError: If they were taken before.
        """
        terms, self._terms = self._present(), None
        return terms

    def _present(self) -> Terms:
        if self._terms is None:
            raise StateError("these features were taken by a layer before; keep their total instead")
        return self._terms


class Tails:
    """Hands the tails of a stream out in order and collects the next ones.

    With `looks_ahead` there is no stream: every convolution sees one frame to both sides. With `overwrites`
    the next tails lie where the given ones lay, which are lost: there is never more than one set of them.
    """

    def __init__(
        self, tails: tuple[ConvTail, ...] | None, *, looks_ahead: bool = False, overwrites: bool = False
    ) -> None:
        self._given = tails
        self._overwritten = tails if overwrites else None
        self.looks_ahead = looks_ahead
        self.starts_stream = tails is None
        self.next: list[ConvTail] = []

    def take(self, like: Frames) -> Past | None:
        """The tail of the next convolution.

        Raises:
            StateError: If it belongs to a stream of another shape.
        """
        if self._given is None:
            return None
        if len(self.next) >= len(self._given):
            raise StateError(f"got a state of {len(self._given)} tails; it belongs to another network")
        tail = self._given[len(self.next)].frames
        expected = (like.shape[0], like.shape[1], KERNEL - 1, *like.shape[3:])
        if tuple(tail.shape) != expected:
            raise StateError(
                f"got a stream state of shape {tuple(tail.shape)}, expected {expected}; "
                "a state serves only streams of the number and size that it was made with"
            )
        return tail.to(like.dtype)

    def put(self, tail: Past) -> None:
        """Keep the tail that the next call of the same convolution takes."""
        if self._overwritten is None:
            self.next.append(ConvTail(tail))
            return
        kept = self._overwritten[len(self.next)]
        kept.frames.copy_(tail)
        self.next.append(kept)


class CausalConv3d(nn.Module):
    """A convolution over this frame and the two before it, or over one frame to both sides.

    Before the start of a stream the first frame is repeated. The bias is left to whoever reads the result
    (`Features.bias`), which saves a pass over memory.

    Source: official LTX-2 VAE (LTX2VideoCausalConv3d).
    """

    def __init__(self, in_channels: int, out_channels: int, *, padding: Literal["zeros", "reflect"]) -> None:
        super().__init__()
        self.reflect = padding == "reflect"
        fan_in = in_channels * KERNEL**3
        weight = torch.randn(out_channels, in_channels, KERNEL, KERNEL, KERNEL) * fan_in**-0.5
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last_3d))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.prepare = conv_input

    def forward(
        self, x: Features, tails: Tails, *, activate: bool, num_outputs: int | None = None
    ) -> Features:
        """The convolved frames, the bias not yet added.

        Args:
            x: What to convolve.
            tails: The stream's tails; one is taken and one put.
            activate: Whether `x` is normalised and passed through SiLU first.
            num_outputs: Compute only the first channels; None means all.
        """
        return self._convolve(x, tails, activate, keep_total=False, num_outputs=num_outputs)[0]

    def with_total(self, x: Features, tails: Tails, *, activate: bool) -> tuple[Features, Frames]:
        """The convolved frames, the bias not yet added, and the total of `x`, formed in the same pass."""
        y, total = self._convolve(x, tails, activate, keep_total=True)
        assert total is not None
        return y, total

    def _convolve(
        self, x: Features, tails: Tails, activate: bool, *, keep_total: bool, num_outputs: int | None = None
    ) -> tuple[Features, Frames | None]:
        padding = Padding(before=KERNEL - 1, reflect=self.reflect)
        if tails.looks_ahead:
            padding = Padding(before=1, after=1, reflect=self.reflect)
        padded, total = self._prepared(x, tails, padding, activate, keep_total=keep_total)
        # without reflection the convolution itself pads with zeros, which costs nothing
        border = 0 if self.reflect else 1
        y = F.conv3d(padded, self.weight[:num_outputs], padding=(0, border, border))
        return Features(y, bias=self.bias[:num_outputs]), total

    def _prepared(
        self, x: Features, tails: Tails, padding: Padding, activate: bool, *, keep_total: bool
    ) -> tuple[Float[Tensor, "b c t2 h2 w2"], Frames | None]:
        # the terms end with this call, so that the convolution finds their memory free
        terms = x.take()
        read = self.prepare(
            terms.update,
            tails.take(terms.update),
            padding,
            base=terms.base,
            bias=terms.bias,
            activate=activate,
            keep_total=keep_total,
        )
        if not tails.looks_ahead:
            tails.put(read.tail)
        return read.padded, read.total


class ConvBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))).

    Source: official LTX-2 VAE (LTX2VideoResnetBlock3d without noise and timestep).
    """

    def __init__(self, channels: int, *, padding: Literal["zeros", "reflect"]) -> None:
        super().__init__()
        self.conv_1 = CausalConv3d(channels, channels, padding=padding)
        self.conv_2 = CausalConv3d(channels, channels, padding=padding)

    def forward(self, x: Features, tails: Tails) -> Features:
        """The block's sum, not yet formed."""
        y, total = self.conv_1.with_total(x, tails, activate=True)
        update, _, bias = self.conv_2(y, tails, activate=True).take()
        return Features(update, total, bias)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResampleSpec:
    """How a layer trades positions for channels: neighbours a channel takes in, or gives."""

    stride: Stride

    @property
    def num_neighbours(self) -> int:
        """Positions that become one."""
        frames, rows, columns = self.stride
        return frames * rows * columns


class Shrink(nn.Module):
    """Fewer positions: a convolution, then neighbours stacked in channels, plus their grouped means.

    Source: official LTX-2 VAE (LTX2VideoDownsampler3d).
    """

    def __init__(
        self, in_channels: int, out_channels: int, spec: ResampleSpec, *, padding: Literal["zeros", "reflect"]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.out_channels = out_channels
        self.conv = CausalConv3d(in_channels, out_channels // spec.num_neighbours, padding=padding)
        self.resample = shrunk

    def forward(self, x: Features, tails: Tails) -> Features:
        """Frames of a stream, or of a clip; at the start of either the first frame is repeated to fill up."""
        if tails.starts_stream and self.spec.stride[0] > 1:
            x = Features(_repeated_first(x.take().total, self.spec.stride[0] - 1))
        y, total = self.conv.with_total(x, tails, activate=False)
        return Features(self.resample(y.take().update, self.conv.bias, total, self.spec.stride))


class Grow(nn.Module):
    """More positions: a convolution whose channels are laid out as neighbours, plus the same of its input.

    Source: official LTX-2 VAE (LTX2VideoUpsampler3d with residual).
    """

    def __init__(
        self, in_channels: int, out_channels: int, spec: ResampleSpec, *, padding: Literal["zeros", "reflect"]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.conv = CausalConv3d(in_channels, out_channels * spec.num_neighbours, padding=padding)
        self.resample = grown

    def forward(self, x: Features, tails: Tails) -> Features:
        """Frames of a stream, or of a clip; at the start of either all but one of the first are dropped."""
        y, total = self.conv.with_total(x, tails, activate=False)
        num_dropped = self.spec.stride[0] - 1 if tails.starts_stream else 0
        return Features(
            self.resample(y.take().update, self.conv.bias, total, self.spec.stride, num_dropped=num_dropped)
        )


def _repeated_first(x: Frames, num_more: int) -> Float[Tensor, "b c t2 h w"]:
    return torch.cat([x[:, :, :1].expand(-1, -1, num_more, -1, -1), x], 2)
