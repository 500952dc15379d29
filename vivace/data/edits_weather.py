"""Snow, rain and fog: what they do to a scene, and the falling particles as a layer of their own.

Particles are a function of (seed, absolute raw frame index) alone, so a clip may be made in pieces.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vivace.core.falling_noise import FAR_SNOW, NEAR_SNOW, RAIN, FallingNoise
from vivace.data.edits_filter import (
    REFERENCE_SIDE_PX,
    Pictures,
    blur,
    color_like,
    height_ramp,
    luma,
    mix,
    saturate,
    scaled_px,
    screen,
    shift,
    smoothstep,
)

Alpha = Float[Tensor, "1 1 r h w"]


def fog(x: Pictures) -> Pictures:
    """A pale veil, thick at the top and over even ground, thin over the near foreground."""
    grey = luma(x)
    detail = blur((grey - blur(grey, 3)).abs(), 10)
    near = smoothstep(height_ramp(x), 0.25, 1.1)
    thickness = (0.93 - 0.62 * near - 1.2 * detail).clamp(0.25, 0.95)
    soft = mix(x, blur(x, 2.0), smoothstep(thickness, 0.45, 0.85))
    veil = color_like(x, (0.80, 0.82, 0.84)) - 0.06 * height_ramp(x)
    return mix(saturate(soft, 0.55), veil, thickness).clamp(0, 1)


def snow(x: Pictures) -> Pictures:
    """Snow lies on ground, plants and upper edges, under a cold overcast light."""
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:3]
    grey = luma(x)
    colorfulness = x.amax(1, keepdim=True) - x.amin(1, keepdim=True)
    plant = smoothstep(green - 0.5 * red - 0.5 * blue, -0.01, 0.09)
    dull = 1 - smoothstep(colorfulness, 0.10, 0.38)
    ground = smoothstep(height_ramp(x), 0.30, 0.80) * dull * smoothstep(grey, 0.10, 0.40)
    step = max(1, round(scaled_px(x, 2)))
    smooth = blur(grey, 1.0)
    cap = smoothstep(shift(smooth, -2 * step, 0) - shift(smooth, step, 0), 0.05, 0.22)
    lit = smoothstep(grey - blur(grey, 6), 0.0, 0.14)
    # Faces and hands are warm in colour; only what is not gets snow on its lit sides.
    bare = 1 - 0.85 * smoothstep(red - blue, 0.06, 0.22)
    cover = 1 - (1 - 0.85 * plant) * (1 - 0.8 * ground) * (1 - 0.9 * bare * cap) * (1 - 0.55 * bare * lit)
    cover = blur(cover, 0.8).clamp(0, 0.95)
    # The ground's own shading must stay visible in the snow, or the scene loses its form.
    shading = (0.86 + 0.75 * (grey - blur(grey, 10))).clamp(0.45, 1.0)
    white = shading * color_like(x, (0.95, 0.98, 1.03))
    cold = saturate(x, 0.45) * color_like(x, (0.82, 0.92, 1.06)) * 0.88 + 0.07
    return screen(mix(cold.clamp(0, 1), white.clamp(0, 1), cover), 0.10 * (1 - height_ramp(x)))


def rain(x: Pictures) -> Pictures:
    """A dark wet grey-blue scene with a glossy ground."""
    muted = saturate(x, 0.50)
    dark = muted * (0.62 + 0.10 * muted) * color_like(x, (0.80, 0.93, 1.08))
    mirror = blur(x.flip(-2), 5) * smoothstep(height_ramp(x), 0.60, 1.0)
    wet = screen(dark.clamp(0, 1), 0.30 * mirror * color_like(x, (0.8, 0.95, 1.1)))
    veil = color_like(x, (0.50, 0.55, 0.60))
    return mix(wet, veil, 0.30 * (1 - height_ramp(x)) + 0.08).clamp(0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParticleLayer:
    """One depth of falling particles; lengths in pixels of a 192-pixel-high picture.

    There is a moving grid of cells of the size of a latent, with at most one particle each, and four values
    of falling noise decide about it: whether it is there, where in its cell, and how large. `length_px` of 0
    draws round flakes, more a streak along the way it falls.
    """

    noise: FallingNoise
    radius_px: float
    length_px: float
    share: float
    opacity: float


CELL_PX = 16  # the pixels of a latent at the reference size
RAW_FRAMES_PER_LATENT = 4

SNOW_LAYERS = (
    ParticleLayer(noise=FAR_SNOW, radius_px=2.2, length_px=0, share=0.45, opacity=0.9),
    ParticleLayer(noise=NEAR_SNOW, radius_px=3.6, length_px=0, share=0.16, opacity=0.95),
)
SNOW_COLOR = (0.97, 0.98, 1.0)
RAIN_LAYERS = (ParticleLayer(noise=RAIN, radius_px=0.8, length_px=19, share=0.65, opacity=0.55),)
RAIN_COLOR = (0.80, 0.86, 0.92)


def _layer_alpha(
    layer: ParticleLayer, seed: int, frames: tuple[int, int], size: tuple[int, int], device: torch.device
) -> Alpha:
    scale = min(size) / REFERENCE_SIDE_PX
    cell = CELL_PX * scale
    grid = math.ceil(size[0] / cell), math.ceil(size[1] / cell)
    noise = layer.noise
    rows_a_frame, columns_a_frame = noise.rows_per_frame, noise.columns_per_frame
    # Doubles, because the distance fallen grows without end in a long stream.
    time = torch.arange(*frames, device=device, dtype=torch.float64)[:, None, None] / RAW_FRAMES_PER_LATENT
    y = (torch.arange(size[0], device=device, dtype=torch.float64)[None, :, None] + 0.5) / cell
    x = (torch.arange(size[1], device=device, dtype=torch.float64)[None, None, :] + 0.5) / cell
    row, column = y - rows_a_frame * time, x - columns_a_frame * time
    number = row.floor().to(torch.int64)
    reach = 1 if layer.length_px else 0  # a streak reaches into the cells above and below
    first, last = int(number.min()) - reach, int(number.max()) + reach
    values = noise.rows(seed, first, last - first + 1, grid).to(device)
    alpha = torch.zeros((), device=device)
    for step in range(-reach, reach + 1):
        alpha = torch.maximum(
            alpha, _particle(layer, values, number + step, first, row, column, grid[0], scale)
        )
    return alpha[None, None]


def _particle(
    layer: ParticleLayer,
    values: Float[Tensor, "4 rows columns"],
    number: Int64[Tensor, "r h 1"],
    first: int,
    row: Tensor,
    column: Tensor,
    grid_rows: int,
    scale: float,
) -> Float[Tensor, "r h w"]:
    """Opacity that the particle of cell row `number` has in every pixel."""
    noise, cell = layer.noise, CELL_PX * scale
    entered = noise.columns_per_frame * torch.div(number, noise.rows_per_frame, rounding_mode="floor")
    whole = column.floor().to(torch.int64)
    place = (whole - entered + noise.margin(grid_rows)).clamp(0, values.shape[2] - 1)
    present, across, along, size = torch.special.ndtr(values)[:, number - first, place].unbind(0)
    size_share = 0.65 + 0.35 * size
    radius = (layer.radius_px * scale * size_share).clamp_min(0.4)
    half_length = layer.length_px * scale * size_share / 2
    margin = (radius + 0.5) / cell
    x = ((column - whole).float() - margin - across * (1 - 2 * margin)) * cell
    y = ((row - number).float() - margin - along * (1 - 2 * margin)) * cell
    # in slanted coordinates a streak lies along the way it falls
    slant = noise.columns_per_frame / noise.rows_per_frame if layer.length_px else 0.0
    beyond = (y.abs() - half_length).clamp_min(0)
    distance = ((x - slant * y) ** 2 + beyond**2).sqrt()
    shape = 1 - smoothstep(distance - radius, -0.5 - 0.3 * float(layer.radius_px > 2) * scale, 0.5)
    return shape * (present < layer.share) * layer.opacity * (0.6 + 0.4 * size_share)


def fall(
    layers: tuple[ParticleLayer, ...], shape: torch.Size, seed: int, first_frame: int, device: torch.device
) -> Alpha:
    """Opacity in [0, 1] of the particles over a video of this shape, from raw frame `first_frame` on.

    The particles are a function of the falling noise of `seed`: a model that is given the same noise can draw
    them, see `core/falling_noise.py`.
    """
    num_frames, height, width = shape[-3:]
    clear = torch.ones(1, 1, num_frames, height, width, device=device)
    for layer in layers:
        frames = first_frame, first_frame + num_frames
        clear = clear * (1 - _layer_alpha(layer, seed, frames, (height, width), device))
    return 1 - clear
