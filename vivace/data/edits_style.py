"""The drawing, painting and printing looks, as functions of a batch of pictures."""

import torch
from torch import Tensor

from vivace.data.edits_filter import (
    Pictures,
    blocks,
    blur,
    color_like,
    edge_strength,
    gradient_map,
    hash_unit,
    height_ramp,
    ink_lines,
    luma,
    mix,
    paint_smooth,
    paper_grain,
    posterise,
    rows_and_columns,
    saturate,
    scaled_px,
    screen,
    shift,
    slopes,
    smoothstep,
)


def _strokes(x: Pictures, falling: bool) -> Tensor:
    """Static diagonal hatching around 0: grain smeared along one diagonal."""
    grain = paper_grain(x, 0.45, key=7)
    reach = max(2, round(scaled_px(x, 4)))
    total = torch.zeros_like(grain)
    for i in range(-reach, reach + 1):
        total = total + shift(grain, i, i if falling else -i)
    return total / (2 * reach + 1) ** 0.5


def _keep_thin_things(x: Pictures, smooth: Pictures, amount: float) -> Pictures:
    """Draws strong narrow details (spokes, masts, eyes) that smoothing lost back into the flat picture."""
    lost = luma(blur(x, 0.5)) - luma(smooth)
    return (smooth + amount * lost * smoothstep(lost.abs(), 0.05, 0.18)).clamp(0, 1)


def pencil_sketch(x: Pictures) -> Pictures:
    """Graphite on paper: dark contours, hatched shadows, white lights."""
    grey = blur(luma(x), 0.5)
    contour = (grey / (blur(grey, 4.0) + 0.02)).clamp(0, 1.0)
    contour = 1 - 1.9 * (1 - contour) * smoothstep(1 - contour, 0.0, 0.12)
    soft = blur(grey, 1.5)
    tone = 0.40 + 0.60 * smoothstep(soft, 0.02, 0.6)
    hatch = 1 + 0.15 * _strokes(x, falling=False) * (1 - smoothstep(soft, 0.1, 0.65))
    drawing = (contour * tone * hatch).clamp(0, 1)
    return gradient_map(drawing, ((0.13, 0.13, 0.15), (0.55, 0.55, 0.56), (0.98, 0.975, 0.96)))


def charcoal(x: Pictures) -> Pictures:
    """Smudged black charcoal on rough paper."""
    grey = _keep_thin_things(x, paint_smooth(luma(x), 4), 0.8)
    smudge = smoothstep(blur(grey, 1.2), 0.08, 0.62)
    lines = smoothstep(edge_strength(blur(grey, 1.0)), 0.02, 0.10)
    grain = paper_grain(x, 0.6, key=3)
    tone = (0.06 + 0.86 * smudge) * (1 - 0.85 * lines)
    tone = tone + 0.07 * grain * (1 - (2 * tone - 1).abs()).clamp(0, 1)
    return gradient_map(tone, ((0.05, 0.05, 0.05), (0.42, 0.41, 0.40), (0.93, 0.91, 0.87)))


def watercolor(x: Pictures) -> Pictures:
    """Pale transparent washes with darker rims on white paper."""
    wash = blur(_keep_thin_things(x, paint_smooth(paint_smooth(x, 4), 4), 0.6), 0.6)
    pigment = 1 - saturate(wash, 1.7)
    light = luma(wash)
    paper = smoothstep(light, 0.55, 0.95)
    pigment = pigment * 0.72 * (1 - 0.6 * paper)
    rim = (blur(light, 2.2) - light).clamp_min(0)
    granulation = 1 + 0.045 * paper_grain(x, 0.8, key=11) + 0.05 * paper_grain(x, 7.0, key=12)
    pigment = pigment * granulation * (1 + 6.0 * rim) + 0.8 * rim
    return ((1 - pigment) * color_like(x, (1.0, 0.99, 0.965))).clamp(0, 1)


def oil_painting(x: Pictures) -> Pictures:
    """Thick saturated brush patches with a lit relief."""
    paint = _keep_thin_things(x, paint_smooth(paint_smooth(x, 6, 8.0), 4, 8.0), 0.6)
    rich = saturate(paint, 1.45)
    rich = mix(rich, rich * rich * (3 - 2 * rich), 0.55)
    down, right = slopes(luma(paint) + 0.008 * paper_grain(x, 1.3, key=21))
    relief = ((down + right) * 3.0).clamp(-0.22, 0.22)
    return (rich * (1 + 0.9 * relief) + 0.35 * relief).clamp(0, 1)


def cartoon(x: Pictures) -> Pictures:
    """Flat steps of bright colour inside black outlines."""
    smooth = _keep_thin_things(x, paint_smooth(paint_smooth(x, 4), 4), 0.8)
    grey = luma(smooth)
    level = posterise(grey.clamp_min(1e-3).sqrt(), 6, 0.9).square()
    flat = saturate((smooth * ((level + 0.04) / (grey + 0.04))).clamp(0, 1), 1.8)
    lines = ink_lines(luma(paint_smooth(x, 3)), 1.1, 0.014, 0.02)
    return (flat * 1.08).clamp(0, 1) * (1 - 0.95 * lines)


def anime(x: Pictures) -> Pictures:
    """Clean cel colours: vivid, light, blue-violet shadows, soft bloom, thin lines."""
    smooth = _keep_thin_things(x, paint_smooth(paint_smooth(x, 4), 3), 0.8)
    grey = luma(smooth)
    lifted = grey.clamp_min(1e-4).pow(0.7)
    vivid = saturate((smooth * (lifted + 0.03) / (grey + 0.03)).clamp(0, 1), 2.1)
    shadow = 1 - smoothstep(lifted, 0.25, 0.6)
    vivid = mix(vivid, vivid * 0.6 + color_like(x, (0.12, 0.08, 0.30)), 0.6 * shadow)
    bloom = blur(vivid * smoothstep(luma(vivid), 0.55, 0.9), 6)
    lines = ink_lines(grey, 0.8, 0.012, 0.02)
    glowing = screen(vivid, 0.38 * bloom * color_like(x, (1.0, 0.9, 0.97)))
    return mix(glowing, color_like(x, (0.16, 0.08, 0.22)), 0.8 * lines)


def pixel_art(x: Pictures) -> Pictures:
    """Coarse squares in a small palette, as on an old game console."""
    size = max(2, round(scaled_px(x, 5)))
    small = saturate(paint_smooth(x, 3), 1.6)
    small = blocks(mix(small, small * small * (3 - 2 * small), 0.5), size)
    grey = luma(small)
    # Brightness and colour are rounded apart, or greys would take on a tint.
    tint = posterise((small - grey) * 1.1 + 0.5, 9, 0.9) - 0.5
    return (posterise(grey, 6, 0.9) + tint).clamp(0, 1)


def mosaic(x: Pictures) -> Pictures:
    """Square ceramic tiles with grout between them, each lit from the upper left."""
    size = max(4, round(scaled_px(x, 8)))
    rows, columns = rows_and_columns(x)
    y, across = (rows % size) / (size - 1) * 2 - 1, (columns % size) / (size - 1) * 2 - 1
    inside = 1 - smoothstep(torch.maximum(y.abs(), across.abs()), 0.72, 1.0)[None, None]
    bevel = -(y + across)[None, None] * 0.07
    tile_row = torch.arange(x.shape[-2], device=x.device)[:, None] // size
    tile_column = torch.arange(x.shape[-1], device=x.device)[None, :] // size
    tone = 0.94 + 0.28 * hash_unit(tile_row, tile_column, 5).to(x.dtype)[None, None]
    tiles = saturate(blocks(x, size), 1.7) * tone + bevel
    return mix(0.25 * tiles + 0.16, tiles, inside).clamp(0, 1)


def neon_edges(x: Pictures) -> Pictures:
    """Glowing coloured contours on black."""
    smooth = paint_smooth(x, 3)
    strength = edge_strength(smooth).amax(1, keepdim=True)
    line = smoothstep(strength, 0.015, 0.09)
    place = height_ramp(x)
    hue = gradient_map(
        (0.65 * luma(blur(x, 4)) + 0.45 * place).clamp(0, 1),
        ((0.10, 0.35, 1.0), (0.0, 0.95, 1.0), (1.0, 0.10, 0.85), (1.0, 0.55, 0.10)),
    )
    light = line * hue
    glow = blur(light, 3.5)
    return screen(screen(0.02 + 0.05 * smooth, 1.1 * glow), light)


def halftone(x: Pictures) -> Pictures:
    """A printed comic page: flat bright inks, black outlines, a dot screen in the shadows."""
    smooth = _keep_thin_things(x, paint_smooth(paint_smooth(x, 4), 4), 0.8)
    inks = posterise(saturate(smooth.clamp_min(1e-4).pow(0.75), 2.2), 3, 0.8)
    inks = mix(color_like(x, (0.99, 0.95, 0.82)), inks, 0.86)
    rows, columns = rows_and_columns(x)
    pitch = max(3.0, scaled_px(x, 5))
    turn = 3.14159265 / pitch * 2**0.5
    screen_height = 0.5 + 0.25 * (torch.cos((rows + columns) * turn) + torch.cos((rows - columns) * turn))
    darkness = 1 - smoothstep(blur(luma(x), 1.5), 0.05, 0.72)
    dots = smoothstep(0.86 * darkness - (1 - screen_height)[None, None], -0.10, 0.10)
    lines = ink_lines(luma(smooth), 1.3, 0.012, 0.02)
    ink = color_like(x, (0.06, 0.05, 0.12))
    return mix(mix(inks, ink, 0.82 * dots), ink, lines)


def emboss(x: Pictures) -> Pictures:
    """A relief carved in grey stone, lit from the upper left."""
    grey = paint_smooth(luma(x), 3)
    down, right = slopes(blur(grey, 0.8))
    fine = (down + right) * 6.0
    down, right = slopes(blur(grey, 3.0))
    relief = (fine + (down + right) * 8.0).clamp(-0.5, 0.5)
    tone = 0.52 + 0.9 * relief * (1 - 0.4 * relief.abs()) + 0.012 * paper_grain(x, 0.7, key=31)
    return gradient_map(tone, ((0.08, 0.08, 0.09), (0.53, 0.52, 0.50), (0.99, 0.98, 0.95)))
