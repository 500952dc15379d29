"""Snow, rain and fog: what they do to a scene, and the falling particles as a layer of their own.

Particles are a function of (seed, absolute raw frame index) alone, so a clip may be made in pieces.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vivace.data.edits_filter import (
    REFERENCE_SIDE_PX,
    Pictures,
    blur,
    color_like,
    hash_unit,
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
    """One depth of falling particles; lengths in pixels of a 192-pixel-high picture, speeds per raw frame.

    The layer is a moving grid of cells with at most one particle each. `length_px` of 0 draws round flakes.
    """

    cell_width_px: float
    cell_height_px: float
    radius_px: float
    length_px: float
    fall_px: float
    slant: float
    sway_px: float
    share: float
    opacity: float


SNOW_LAYERS = (
    ParticleLayer(
        cell_width_px=9, cell_height_px=9, radius_px=0.75, length_px=0,
        fall_px=1.1, slant=0.10, sway_px=1.0, share=0.5, opacity=0.75,
    ),
    ParticleLayer(
        cell_width_px=17, cell_height_px=17, radius_px=1.4, length_px=0,
        fall_px=2.1, slant=0.16, sway_px=2.0, share=0.55, opacity=0.9,
    ),
    ParticleLayer(
        cell_width_px=42, cell_height_px=42, radius_px=2.7, length_px=0,
        fall_px=3.9, slant=0.22, sway_px=4.0, share=0.6, opacity=0.9,
    ),
)  # fmt: skip
SNOW_COLOR = (0.97, 0.98, 1.0)

RAIN_LAYERS = (
    ParticleLayer(
        cell_width_px=5, cell_height_px=26, radius_px=0.45, length_px=11,
        fall_px=9.0, slant=0.14, sway_px=0, share=0.45, opacity=0.30,
    ),
    ParticleLayer(
        cell_width_px=11, cell_height_px=48, radius_px=0.65, length_px=22,
        fall_px=15.0, slant=0.16, sway_px=0, share=0.45, opacity=0.45,
    ),
    ParticleLayer(
        cell_width_px=27, cell_height_px=90, radius_px=0.9, length_px=40,
        fall_px=24.0, slant=0.18, sway_px=0, share=0.45, opacity=0.5,
    ),
)  # fmt: skip
RAIN_COLOR = (0.80, 0.86, 0.92)


def _cells(position: Tensor, size: float) -> tuple[Int64[Tensor, "..."], Float[Tensor, "..."]]:
    """The number of the cell a position lies in, and the place inside it in pixels."""
    number = (position / size).floor()
    return number.to(torch.int64), (position - number * size).to(torch.float32)


def _layer_alpha(
    layer: ParticleLayer, key: int, frames: tuple[int, int], size: tuple[int, int], device: torch.device
) -> Alpha:
    scale = min(size) / REFERENCE_SIDE_PX
    cell_width, cell_height = layer.cell_width_px * scale, layer.cell_height_px * scale
    # Doubles, because the distance fallen grows without end in a long stream.
    time = torch.arange(*frames, device=device, dtype=torch.float64)[:, None, None]
    rows = torch.arange(size[0], device=device, dtype=torch.float64)[None, :, None]
    columns = torch.arange(size[1], device=device, dtype=torch.float64)[None, None, :]
    # A particle falls along a line of this slope, so in slanted coordinates its column never changes.
    sway = layer.sway_px * scale * torch.sin(time * 0.11 + key)
    column, x = _cells(columns + layer.slant * rows - sway, cell_width)
    start = hash_unit(column, key, 1).to(torch.float64) * cell_height * 16
    fall = layer.fall_px * scale * (0.8 + 0.4 * hash_unit(column, key, 2).to(torch.float64))
    row, y = _cells(rows - fall * time + start, cell_height)

    size_share = 0.65 + 0.35 * hash_unit(column, row, key, 3)
    radius = (max(layer.radius_px * scale, 0.4) * size_share).clamp_max(cell_width / 2 - 0.6)
    half_length = layer.length_px * scale * size_share / 2
    margin_x, margin_y = radius + 0.5, half_length + radius + 0.5
    center_x = margin_x + hash_unit(column, row, key, 4) * (cell_width - 2 * margin_x).clamp_min(0)
    center_y = margin_y + hash_unit(column, row, key, 5) * (cell_height - 2 * margin_y).clamp_min(0)
    across = x - center_x
    along = ((y - center_y).abs() - half_length).clamp_min(0)
    distance = (across * across + along * along).sqrt()
    shape = 1 - smoothstep(distance - radius, -0.5 - 0.3 * float(layer.radius_px > 2) * scale, 0.5)
    present = hash_unit(column, row, key, 6) < layer.share
    return (shape * present * layer.opacity * (0.6 + 0.4 * size_share))[None, None]


def fall(
    layers: tuple[ParticleLayer, ...], shape: torch.Size, seed: int, first_frame: int, device: torch.device
) -> Alpha:
    """Opacity in [0, 1] of the particles over a video of this shape, from raw frame `first_frame` on."""
    num_frames, height, width = shape[-3:]
    clear: Tensor | None = None
    for i, layer in enumerate(layers):
        key = (seed * 1_000_003 + i * 7919) & 0x7FFFFFFF
        alpha = _layer_alpha(layer, key, (first_frame, first_frame + num_frames), (height, width), device)
        clear = 1 - alpha if clear is None else clear * (1 - alpha)
    if clear is None:
        return torch.zeros(1, 1, num_frames, height, width, device=device)
    return 1 - clear
