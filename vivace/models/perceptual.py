"""LPIPS, the learned perceptual distance of pictures; its weights come from a file and are never trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from vivace.core.errors import WeightsError

# AlexNet's five convolutions: output channels, kernel, stride, padding.
LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
POOLED_LAYERS = (1, 2)


class Lpips(nn.Module):
    """Distance of AlexNet features, channel-normalised and weighted by what people see.

    Pictures are RGB in [-1, 1] and at least 32 px a side. 0 is identical; about 0.1 is hard to tell apart at
    a glance, above 0.5 is unlike. Differentiable; the weights are fixed.

    Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018
    (version 0.1, AlexNet).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        convs, channels = [], 3
        for width, kernel, stride, padding in LAYERS:
            conv = nn.Conv2d(channels, width, kernel, stride, padding)
            conv.weight = nn.Parameter(conv.weight.contiguous(memory_format=torch.channels_last))
            convs.append(conv)
            channels = width
        self.trunk = nn.ModuleList(convs)
        self.heads = nn.ParameterList([torch.full((layer[0],), 1.0 / layer[0]) for layer in LAYERS])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Fixed weights from a safetensors file with `trunk.i.weight`, `trunk.i.bias` and `heads.i`.

        Raises:
            WeightsError: If the file is missing or its tensors do not fit.
        """
        if not path.is_file():
            raise WeightsError(f"no LPIPS weights at {path}; expected a safetensors file")
        lpips = cls()
        given, wanted = load_file(path), lpips.state_dict()
        if {k: v.shape for k, v in given.items()} != {k: v.shape for k, v in wanted.items()}:
            raise WeightsError(f"{path.name} does not hold AlexNet-LPIPS v0.1 weights; convert them again")
        lpips.load_state_dict(given)
        return lpips.eval()

    def forward(self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
        """The distance of every pair of pictures."""
        return torch.stack([layer.mean(dim=(1, 2)) for layer in self.maps(a, b)]).sum(dim=0)

    def with_regions(
        self,
        a: Float[Tensor, "n c h w"],
        b: Float[Tensor, "n c h w"],
        region: Float[Tensor, "n 1 h w"],
        weight: float,
    ) -> Float[Tensor, "n"]:
        """The distance of every pair plus `weight` times that in the region (`region_mean`)."""
        layers = self.maps(a, b)
        plain = torch.stack([layer.mean(dim=(1, 2)) for layer in layers]).sum(dim=0)
        return plain + weight * region_mean(layers, region)

    def maps(
        self, a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]
    ) -> list[Float[Tensor, "n h2 w2"]]:
        """The distance at each place of each layer; its means over places sum to that of the pictures."""
        # Both through the trunk at once: half the launches, and the pictures are small.
        x = torch.cat([a, b]).sub(self.shift).div(self.scale)
        layers: list[Tensor] = []
        for i, (conv, head) in enumerate(zip(self.trunk, self.heads)):
            if i in POOLED_LAYERS:
                x = F.max_pool2d(x, kernel_size=3, stride=2)
            x = F.relu(conv(x))
            unit = x.float() * torch.rsqrt(x.float().square().sum(dim=1, keepdim=True) + 1e-10)
            left, right = unit.chunk(2)
            weighted = (left - right).square() * head.float().view(-1, 1, 1)
            layers.append(weighted.sum(dim=1))
        return layers


def region_mean(
    layers: Sequence[Float[Tensor, "n _ _"]], region: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n"]:
    """The distance within a region, a share in [0, 1] a pixel, from `Lpips.maps`; 0 where there is none.

    Deviation: a layer's place counts by the share of the region in its equal part of the picture, not in its
    receptive field.
    """
    total = torch.zeros(region.shape[0], device=region.device)
    for layer in layers:
        area = F.adaptive_avg_pool2d(region, (layer.shape[-2], layer.shape[-1]))[:, 0]
        total = total + (layer * area).sum((1, 2)) / area.sum((1, 2)).clamp_min(1e-6)
    return total
