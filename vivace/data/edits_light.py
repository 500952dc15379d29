"""The looks of another time of day, as functions of a batch of pictures."""

from torch import Tensor

from vivace.data.edits_filter import (
    Pictures,
    blur,
    color_like,
    height_ramp,
    luma,
    mix,
    rows_and_columns,
    saturate,
    screen,
    smoothstep,
)


def local_brightness(x: Pictures) -> Tensor:
    """Brightness relative to the wide surroundings; tells lamps and windows from an evenly bright sky."""
    grey = luma(x)
    return grey - blur(grey, 14)


def night(x: Pictures) -> Pictures:
    """Moonlit blue darkness in which small bright things glow warm."""
    grey = luma(x)
    surroundings = blur(grey, 24)
    even = grey * (0.56 / (surroundings + 0.25))
    muted = mix(even, x * (even / (grey + 0.02)), 0.35).clamp(0, 1)
    dark = muted.square() * 0.75 + muted * 0.36
    sky = 1 - 0.5 * (1 - height_ramp(x)) ** 1.5
    blue = (dark * sky * color_like(x, (0.50, 0.72, 1.35)) + color_like(x, (0.010, 0.022, 0.075))).clamp(0, 1)
    lamp = smoothstep(blur(local_brightness(x), 0.8), 0.14, 0.34) * smoothstep(grey, 0.5, 0.8)
    light = lamp * mix(color_like(x, (1.0, 0.80, 0.45)), x, 0.25)
    glow = blur(light, 5) * 0.9
    return screen(screen(blue, glow), 0.85 * light)


def golden_hour(x: Pictures) -> Pictures:
    """Low warm sun from the upper right: amber lights, plum shadows, a wide glow."""
    grey = luma(x)
    warm = saturate(x, 1.15) * color_like(x, (1.16, 0.86, 0.52))
    shadow = 1 - smoothstep(grey, 0.05, 0.5)
    warm = mix(warm, warm * 0.72 + color_like(x, (0.09, 0.03, 0.07)), shadow)
    rows, columns = rows_and_columns(x)
    height, width = x.shape[-2:]
    distance = ((rows / height + 0.02).square() + ((columns / width - 0.86) * 1.1).square()).sqrt()
    sun = (1 - smoothstep(distance, 0.0, 0.95))[None, None]
    haze = sun * (0.28 + 0.55 * blur(smoothstep(grey, 0.25, 0.9), 6))
    return screen(warm.clamp(0, 1), haze * color_like(x, (1.0, 0.62, 0.22)))
