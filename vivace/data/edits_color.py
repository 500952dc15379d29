"""The colour grades: another palette on the same picture, as functions of a batch of pictures."""

import torch

from vivace.data.edits_filter import (
    Pictures,
    blur,
    color_like,
    gradient_map,
    height_ramp,
    luma,
    mix,
    paper_grain,
    rows_and_columns,
    saturate,
    screen,
    smoothstep,
)


def _vignette(x: Pictures, depth: float) -> torch.Tensor:
    rows, columns = rows_and_columns(x)
    height, width = x.shape[-2:]
    distance = ((2 * rows / height - 1).square() + (2 * columns / width - 1).square()) / 2
    return (1 - depth * smoothstep(distance, 0.15, 1.0))[None, None]


def film_noir(x: Pictures) -> Pictures:
    """Hard black and white with deep shadows, bloom and a dark frame."""
    grey = 0.45 * x[:, :1] + 0.45 * x[:, 1:2] + 0.10 * x[:, 2:3]
    local = grey + 0.6 * (grey - blur(grey, 8))
    hard = smoothstep(local, 0.16, 0.80)
    hard = screen(hard, 0.35 * blur(smoothstep(hard, 0.7, 1.0), 4))
    return (
        (hard * _vignette(x, 0.75) + 0.012 * paper_grain(x, 0.4, key=41))
        .clamp(0, 1)
        .expand_as(x)
        .contiguous()
    )


def sepia(x: Pictures) -> Pictures:
    """A faded brown photograph of a hundred years ago."""
    grey = blur(luma(x), 0.5)
    tone = 0.10 + 0.84 * smoothstep(grey, -0.12, 1.08)
    tone = tone * _vignette(x, 0.45) + 0.010 * paper_grain(x, 0.7, key=51)
    return gradient_map(
        tone, ((0.13, 0.07, 0.03), (0.42, 0.27, 0.14), (0.74, 0.58, 0.37), (0.96, 0.88, 0.70))
    )


def blue_grade(x: Pictures) -> Pictures:
    """Everything blue."""
    tinted = gradient_map(
        luma(x), ((0.0, 0.01, 0.10), (0.02, 0.16, 0.62), (0.16, 0.50, 0.98), (0.80, 0.93, 1.0))
    )
    return mix(x, tinted, 0.92)


def red_grade(x: Pictures) -> Pictures:
    """Everything red."""
    tinted = gradient_map(
        luma(x), ((0.07, 0.0, 0.0), (0.55, 0.02, 0.03), (0.95, 0.18, 0.12), (1.0, 0.86, 0.78))
    )
    return mix(x, tinted, 0.92)


def autumn(x: Pictures) -> Pictures:
    """Leaves and grass turn orange and red; the rest takes warm brown light."""
    red, green, blue = x[:, :1], x[:, 1:2], x[:, 2:3]
    leaf = smoothstep(green - 0.5 * red - 0.5 * blue, 0.0, 0.10) * smoothstep(green - blue, 0.0, 0.08)
    grey = luma(x)
    foliage = gradient_map(
        (grey * 1.25).clamp(0, 1),
        ((0.16, 0.03, 0.01), (0.68, 0.16, 0.03), (0.96, 0.50, 0.08), (1.0, 0.85, 0.42)),
    )
    warm = (saturate(x, 0.9) * color_like(x, (1.13, 0.92, 0.62)) + color_like(x, (0.05, 0.015, 0.0))).clamp(
        0, 1
    )
    return mix(warm, foliage, blur(leaf, 0.6).clamp(0, 1))


def thermal(x: Pictures) -> Pictures:
    """A heat camera's false colours: dark is cold and violet, bright is hot and yellow."""
    heat = smoothstep(blur(luma(x), 1.2), 0.0, 1.0)
    return gradient_map(
        heat,
        (
            (0.02, 0.0, 0.12),
            (0.20, 0.0, 0.55),
            (0.65, 0.0, 0.60),
            (0.95, 0.22, 0.20),
            (1.0, 0.62, 0.0),
            (1.0, 0.93, 0.25),
            (1.0, 1.0, 0.92),
        ),
    )


def cyberpunk(x: Pictures) -> Pictures:
    """Dark teal and magenta city light with glowing highlights."""
    grey = luma(x)
    local = (grey + 0.5 * (grey - blur(grey, 8))).clamp(0, 1)
    tinted = gradient_map(
        local,
        ((0.03, 0.0, 0.10), (0.24, 0.02, 0.48), (0.80, 0.08, 0.72), (0.20, 0.80, 0.98), (0.86, 1.0, 1.0)),
    )
    tinted = mix(tinted, saturate(x, 1.6) * tinted * 1.6, 0.3).clamp(0, 1)
    glow = blur(tinted * smoothstep(local, 0.45, 0.85), 5)
    floor = 0.62 + 0.38 * height_ramp(x)
    return screen(tinted * floor, 0.55 * glow)
