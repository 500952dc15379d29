"""Image filters on batches of pictures that the programmatic edits are made of; no edit lives here.

Every filter works on each picture alone and sums in an order that does not depend on the batch, so that a
clip may be processed whole or in pieces. Lengths given as `*_px` are for a picture 192 pixels high and
follow its size.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float
from torch import Tensor

Pictures = Float[Tensor, "n c h w"]
Plane = Float[Tensor, "n 1 h w"]
Mask = Float[Tensor, "#n 1 #h #w"]

REFERENCE_SIDE_PX = 192
_LUMA = (0.299, 0.587, 0.114)


def scaled_px(x: Pictures, length_px: float) -> float:
    """A length meant for 192-pixel-high pictures, in pixels of `x`."""
    return length_px * min(x.shape[-2:]) / REFERENCE_SIDE_PX


def luma(x: Pictures) -> Plane:
    """Brightness in [0, 1] of sRGB pictures (Rec. 601 weights); a single plane is its own brightness."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, 1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def color_like(x: Pictures, rgb: tuple[float, float, float]) -> Float[Tensor, "1 3 1 1"]:
    """A colour as a tensor that broadcasts against `x`."""
    return x.new_tensor(rgb).view(1, 3, 1, 1)


def mix(low: Tensor, high: Tensor, weight: Tensor | float) -> Tensor:
    """`low` where the weight is 0, `high` where it is 1."""
    return low + (high - low) * weight


def smoothstep(x: Tensor, start: float, end: float) -> Tensor:
    """0 up to `start`, 1 from `end`, smooth between; `end` may lie below `start`."""
    ramp = ((x - start) / (end - start)).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def saturate(x: Pictures, amount: float) -> Pictures:
    """Scales the distance of every colour from its grey; 0 gives grey, 1 keeps the picture."""
    grey = luma(x)
    return (grey + (x - grey) * amount).clamp(0, 1)


def screen(x: Tensor, light: Tensor) -> Tensor:
    """Adds light as two projectors on one screen do; stays in [0, 1]."""
    return 1 - (1 - x) * (1 - light.clamp(0, 1))


def gradient_map(plane: Plane, colors: tuple[tuple[float, float, float], ...]) -> Pictures:
    """Replaces brightness in [0, 1] by colours that are spread evenly along it."""
    position = plane.clamp(0, 1) * (len(colors) - 1)
    picture = color_like(plane, colors[0]).expand(plane.shape[0], 3, *plane.shape[-2:])
    for i, (low, high) in enumerate(itertools.pairwise(colors)):
        step = color_like(plane, (high[0] - low[0], high[1] - low[1], high[2] - low[2]))
        picture = picture + step * (position - i).clamp(0, 1)
    return picture.clamp(0, 1)


def shift(x: Tensor, dy: int, dx: int) -> Tensor:
    """The picture whose pixel (y, x) is the old (y + dy, x + dx); the border is repeated."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (max(-dx, 0), max(dx, 0), max(-dy, 0), max(dy, 0)), mode="replicate")
    top, left = max(dy, 0), max(dx, 0)
    return padded[..., top : top + height, left : left + width]


def _along(x: Tensor, weights: list[float], axis: int) -> Tensor:
    radius = len(weights) // 2
    size = x.shape[axis]
    padded = F.pad(x, (0, 0, radius, radius) if axis == -2 else (radius, radius, 0, 0), mode="replicate")
    total = padded.narrow(axis, 0, size) * weights[0]
    for i, weight in enumerate(weights[1:], start=1):
        total = total.add_(padded.narrow(axis, i, size), alpha=weight)
    return total


def _gauss(x: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2.5 * sigma))
    taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    weights = [tap / sum(taps) for tap in taps]
    return _along(_along(x, weights, -2), weights, -1)


def blur(x: Pictures, sigma_px: float) -> Pictures:
    """Gaussian blur; wide ones run on a reduced picture, which the eye cannot tell apart."""
    sigma = scaled_px(x, sigma_px)
    if sigma < 0.3:
        return x
    height, width = x.shape[-2:]
    factor = max(1, int(sigma / 1.5))
    if factor == 1:
        return _gauss(x, sigma)
    reduced_size = (max(2, round(height / factor)), max(2, round(width / factor)))
    reduced = F.interpolate(x, reduced_size, mode="area")
    return F.interpolate(
        _gauss(reduced, sigma / factor), (height, width), mode="bilinear", align_corners=False
    )


def box(x: Pictures, radius: int) -> Pictures:
    """Mean over a square of (2 radius + 1) pixels."""
    weights = [1 / (2 * radius + 1)] * (2 * radius + 1)
    return _along(_along(x, weights, -2), weights, -1)


def paint_smooth(x: Pictures, radius_px: float, sharpness: float = 4.0) -> Pictures:
    """Flattens texture into patches and keeps edges, as a brush does.

    A Kuwahara filter with soft weights: each pixel takes the means of four overlapping squares around it,
    weighted by how even each square is. Soft weights keep sensor noise from making the choice jump from
    one raw frame to the next.
    """
    radius = max(1, round(scaled_px(x, radius_px)))
    half = max(1, radius // 2)
    grey = luma(x)
    mean = box(x, half)
    grey_mean = box(grey, half)
    spread = (box(grey * grey, half) - grey_mean * grey_mean).clamp_min(0)
    precision = (spread + 4e-4).pow(-0.5 * sharpness)
    both = torch.cat([mean * precision, precision], 1)
    total = torch.zeros_like(both)
    for dy, dx in ((-half, -half), (-half, half), (half, -half), (half, half)):
        total = total + shift(both, dy, dx)
    return total[:, :-1] / total[:, -1:]


def slopes(x: Pictures) -> tuple[Pictures, Pictures]:
    """Brightness change per pixel downwards and to the right (Sobel, normalised)."""
    rows = _along(x, [0.25, 0.5, 0.25], -1)
    columns = _along(x, [0.25, 0.5, 0.25], -2)
    return (shift(rows, 1, 0) - shift(rows, -1, 0)) / 2, (shift(columns, 0, 1) - shift(columns, 0, -1)) / 2


def edge_strength(x: Pictures) -> Pictures:
    """Length of the brightness slope, 0 on even ground."""
    down, right = slopes(x)
    return (down * down + right * right + 1e-12).sqrt()


def ink_lines(plane: Plane, width_px: float, threshold: float = 0.02, softness: float = 0.03) -> Plane:
    """1 on dark lines that a pen would draw along edges, 0 elsewhere.

    Difference of Gaussians. Source: Winnemoeller et al., XDoG (2012), section 2.
    """
    difference = blur(plane, width_px * 1.6) - blur(plane, width_px)
    return smoothstep(difference, threshold, threshold + softness)


def posterise(x: Tensor, levels: int, hardness: float = 0.8) -> Tensor:
    """Flattens values into `levels` steps; the rise between steps keeps 1 - hardness of its width."""
    scaled = x.clamp(0, 1) * (levels - 1)
    lower = scaled.floor()
    margin = hardness / 2
    return (lower + smoothstep(scaled - lower, margin, 1 - margin + 1e-3)) / (levels - 1)


def blocks(x: Pictures, size: int) -> Pictures:
    """Replaces every square of `size` pixels by its mean; the last row and column may be cut."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (0, -width % size, 0, -height % size), mode="replicate")
    means = F.avg_pool2d(padded, size)
    tiled = repeat(means, "n c h w -> n c (h dy) (w dx)", dy=size, dx=size)
    return tiled[..., :height, :width]


def rows_and_columns(x: Pictures) -> tuple[Float[Tensor, "h 1"], Float[Tensor, "1 w"]]:
    """Pixel rows and columns as numbers, for masks that depend on the place in the picture."""
    rows = torch.arange(x.shape[-2], device=x.device, dtype=x.dtype)[:, None]
    return rows, torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)[None, :]


def height_ramp(x: Pictures) -> Float[Tensor, "1 1 h 1"]:
    """0 at the top row, 1 at the bottom row."""
    rows, _ = rows_and_columns(x)
    return (rows / max(x.shape[-2] - 1, 1))[None, None]


def hash_unit(*keys: Tensor | int) -> Float[Tensor, "..."]:
    """A number in [0, 1) from whole numbers, equal on every device; at least one key is an int64 tensor."""
    state: Tensor | int = 0x9E3779B9
    for key in keys:
        state = ((state ^ (key & 0xFFFFFFFF)) * 0x27D4EB2F) & 0xFFFFFFFF
        state = ((state ^ (state >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
        state = state ^ (state >> 12)
    if isinstance(state, int):
        raise TypeError("hash_unit needs a tensor among its keys")
    return (state & 0xFFFFFF).to(torch.float32) / 0x1000000


def paper_grain(x: Pictures, grain_px: float, key: int = 0) -> Float[Tensor, "1 1 h w"]:
    """A static texture around 0 with spread about 1, the same for all raw frames and clips of one size."""
    rows = torch.arange(x.shape[-2], device=x.device)[:, None]
    columns = torch.arange(x.shape[-1], device=x.device)[None, :]
    noise = hash_unit(rows, columns, key)[None, None] - 0.5
    smooth = blur(noise, grain_px)
    # White noise of variance 1/12 blurred with sigma keeps 1 / (4 pi sigma^2) of it.
    sigma = max(scaled_px(x, grain_px), 0.3)
    return (smooth * (math.sqrt(12) * max(1.0, 2 * math.sqrt(math.pi) * sigma))).to(x.dtype)
