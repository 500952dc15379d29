"""Drawn objects that local edits add, take away and recolour: shaded shapes and their paths.

Shapes are signed distances in units of the object's radius, so their edges are anti-aliased at any size.
Where an object is depends on (seed, absolute raw frame index) alone, so a clip may be made in pieces.
"""

import colorsys
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vivace.data.edits_filter import Pictures, mix, shift, smoothstep

Shape = Literal["ball", "balloon", "star", "heart", "kite", "box", "butterfly"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
Rgb = tuple[float, float, float]
Field = Float[Tensor, "r 1 h w"]
Line = Float[Tensor, "r"]

# Heights of drawn objects as shares of the picture's height.
SMALLEST, LARGEST = 0.14, 0.40
_LIGHT = (-0.45, -0.60, 0.66)
_PALE, _DARK, _STRING = 0.94, 0.10, 0.82


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Where an object is in each raw frame: centre and radius in pixels, turn in radians.

    Attributes:
        open: How far wings are open, 1 flat towards the camera.
    """

    x: Line
    y: Line
    radius: Line
    turn: Line
    open: Line


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnObject:
    """A layer over a clip: its colours, its coverage and the shadow that it throws on what lies behind."""

    color: Pictures
    alpha: Field
    shadow: Field

    def over(self, pictures: Pictures) -> Pictures:
        """The pictures with the object in front."""
        return mix(pictures * (1 - self.shadow), self.color, self.alpha).clamp(0, 1)

    def is_touched(self) -> Tensor:
        """Where object or shadow change what lies behind; boolean `r 1 h w`."""
        return torch.maximum(self.alpha, self.shadow) > 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class _Form:
    """A shape before light falls on it; distances in radii, negative inside.

    Attributes:
        distance: To the edge of the body.
        depth: Height of the surface over the picture plane.
        albedo: Own colour.
        line: Distance to a thin string or tail behind the body.
    """

    distance: Field
    depth: Field
    albedo: Pictures
    line: Field | None = None


def fixed_pose(x: float, y: float, height: float, shape: tuple[int, int, int], device: torch.device) -> Pose:
    """An object that stays where it is on the screen; places and height as shares of the picture's size.

    `shape` is raw frames, height and width.
    """
    num_frames, rows, columns = shape
    still = torch.ones(num_frames, device=device)
    return Pose(
        x=still * x * columns,
        y=still * y * rows,
        radius=still * height * rows / 2,
        turn=still * 0,
        open=still,
    )


def wandering_pose(
    rng: random.Random, first_frame: int, shape: tuple[int, int, int], device: torch.device
) -> Pose:
    """An object on a smooth path whose centre never leaves the screen; about one in four stands still.

    `shape` is raw frames, height and width; the path begins at frame 0, whatever `first_frame` is.
    """
    num_frames, rows, columns = shape
    # Doubles, because the frame index grows without end in a long stream.
    time = torch.arange(first_frame, first_frame + num_frames, device=device, dtype=torch.float64)
    is_moving = rng.random() < 0.75

    def wave(low: float, high: float, swing: float, fastest: float) -> Line:
        slow, fast = rng.uniform(0.2, 0.6) * fastest, rng.uniform(0.4, 1.0) * fastest
        phases = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
        reach = rng.uniform(0.2, 1.0) * swing * is_moving
        center = rng.uniform(low + reach, high - reach) if high - low > 2 * reach else (low + high) / 2
        sway = 0.7 * torch.sin(slow * time + phases[0]) + 0.3 * torch.sin(fast * time + phases[1])
        return (center + reach * sway).float()

    height = rng.uniform(SMALLEST, LARGEST)
    return Pose(
        x=wave(0.08, 0.92, 0.38, 0.07) * columns,
        y=wave(0.12, 0.88, 0.32, 0.07) * rows,
        radius=wave(0.95 * height, 1.05 * height, 0.12 * height, 0.05) * rows / 2,
        turn=wave(-0.35, 0.35, 0.35, 0.06),
        open=wave(0.75, 0.85, 0.22, 0.5),
    )


def random_color(rng: random.Random, far_from_hue: float | None = None) -> Rgb:
    """A clear colour of any hue, or of one at least a sixth of the circle away from a given one."""
    hue = rng.random() if far_from_hue is None else far_from_hue + rng.uniform(1 / 6, 5 / 6)
    return colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.65, 1.0), rng.uniform(0.60, 1.0))


def draw_object(shape: Shape, color: Rgb, pose: Pose, size: tuple[int, int]) -> DrawnObject:
    """The object in each raw frame of its pose, on pictures of `size` (height, width)."""
    device = pose.x.device
    rows = torch.arange(size[0], device=device, dtype=torch.float32).view(1, 1, -1, 1) + 0.5
    columns = torch.arange(size[1], device=device, dtype=torch.float32).view(1, 1, 1, -1) + 0.5
    x, y, radius, turn, wings = (each.view(-1, 1, 1, 1) for each in _lines(pose))
    right, down = (columns - x) / radius, (rows - y) / radius
    u = right * turn.cos() + down * turn.sin()
    v = down * turn.cos() - right * turn.sin()
    pixel = 1 / radius
    albedo = torch.tensor(color, device=device).view(1, 3, 1, 1)
    form = _FORMS[shape](u, v, wings, pixel, albedo)

    coverage = (0.5 - form.distance * radius).clamp(0, 1)
    lit = _lit(form, radius)
    if form.line is not None:
        line = (0.5 - form.line * radius).clamp(0, 1) * 0.9
        behind = line * (1 - coverage)
        lit = (lit * coverage + _STRING * behind) / (coverage + behind).clamp_min(1e-4)
        coverage = coverage + behind
    shift_x, shift_y, wide, high, strength = _SHADOWS[shape]
    away = (((right - shift_x) / wide).square() + ((down - shift_y) / high).square()).sqrt()
    return DrawnObject(color=lit, alpha=coverage, shadow=strength * (1 - smoothstep(away, 0.35, 1.1)))


def _lines(pose: Pose) -> tuple[Line, Line, Line, Line, Line]:
    return pose.x, pose.y, pose.radius, pose.turn, pose.open


def _lit(form: _Form, radius: Field) -> Pictures:
    """Lambert and Blinn light from the upper left on the surface that `depth` describes."""
    # The surface faces where it falls away; at the rim it would face sideways and be black.
    slope_y = ((shift(form.depth, -1, 0) - shift(form.depth, 1, 0)) / 2 * radius).clamp(-2.5, 2.5)
    slope_x = ((shift(form.depth, 0, -1) - shift(form.depth, 0, 1)) / 2 * radius).clamp(-2.5, 2.5)
    length = (1 + slope_x.square() + slope_y.square()).rsqrt()
    diffuse = ((slope_x * _LIGHT[0] + slope_y * _LIGHT[1] + _LIGHT[2]) * length).clamp_min(0)
    half = math.sqrt(_LIGHT[0] ** 2 + _LIGHT[1] ** 2 + (_LIGHT[2] + 1) ** 2)
    glint = slope_x * _LIGHT[0] + slope_y * _LIGHT[1] + _LIGHT[2] + 1
    gloss = (glint * length / half).clamp(0, 1).pow(28)
    return (form.albedo * (0.42 + 0.72 * diffuse) + 0.55 * gloss).clamp(0, 1)


def _dome(distance: Field, width: float) -> Field:
    """A surface that rises from the edge like a quarter circle of this radius and is flat further in."""
    inwards = (-distance / width).clamp(0, 1)
    return width * (1 - (1 - inwards).square()).clamp_min(1e-6).sqrt()


def _smooth_union(a: Tensor, b: Tensor, softness: float) -> Tensor:
    share = (0.5 + 0.5 * (b - a) / softness).clamp(0, 1)
    return mix(b, a, share) - softness * share * (1 - share)


def _ellipse(u: Tensor, v: Tensor, wide: float | Tensor, high: float) -> Tensor:
    """About the distance to an ellipse, exact in sign."""
    return (((u / wide).square() + (v / high).square()).sqrt() - 1) * min(high, 0.9)


def _ball(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    distance = (u.square() + v.square()).sqrt() - 1
    band = (v + 0.55 * (1 - u.square()) - 0.42).abs()
    pale = 1 - smoothstep((band - 0.12) / pixel, -0.7, 0.7)
    return _Form(distance=distance, depth=_dome(distance, 1.0), albedo=mix(albedo, _pale_like(albedo), pale))


def _pale_like(albedo: Pictures) -> Pictures:
    return torch.full_like(albedo, _PALE)


def _balloon(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    height = (v + 0.30) / 0.86
    width = 0.72 * (1 - 0.20 * height.clamp(-1, 1))
    body = ((u / width).square() + height.square()).sqrt().sub(1) * 0.72
    knot = torch.maximum((v - 0.62).abs() - 0.06, u.abs() - 0.55 * (v - 0.52))
    thick = (0.5 * pixel).clamp_min(0.018)
    string = torch.maximum((u - 0.06 * torch.sin(6 * v)).abs() - thick, (v - 1.02).abs() - 0.40)
    distance = torch.minimum(body, knot)
    return _Form(distance=distance, depth=_dome(body, 0.72), albedo=albedo, line=string)


def _star(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    sector, inner = math.pi / 5, 0.46
    angle = (torch.remainder(torch.atan2(u, -v) + sector, 2 * sector) - sector).abs()
    radius = (u.square() + v.square()).sqrt()
    along, across = radius * angle.cos(), radius * angle.sin()
    # Each half ray of the star is cut off by the line from its tip (1, 0) to the notch beside it.
    normal_x, normal_y = inner * math.sin(sector), 1 - inner * math.cos(sector)
    distance = ((along - 1) * normal_x + across * normal_y) / math.hypot(normal_x, normal_y)
    return _Form(distance=distance, depth=0.9 * (-distance).clamp_min(0), albedo=albedo)


def _heart(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    half = 0.58
    low = v - 0.09
    p, q = (u + low) * math.sqrt(0.5), (low - u) * math.sqrt(0.5)
    square = torch.maximum(p.abs(), q.abs()) - half
    lobes = torch.minimum(
        ((p + half).square() + q.square()).sqrt(), (p.square() + (q + half).square()).sqrt()
    ).sub(half)
    distance = torch.minimum(square, lobes)
    smooth = _smooth_union(square, lobes, 0.45)
    return _Form(distance=distance, depth=_dome(smooth, 0.75), albedo=albedo)


def _kite(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    low = v + 0.32
    distance = (u.abs() / 0.62 + low.abs() / torch.where(low < 0, 0.62, 0.98) - 1) * 0.5
    panel = smoothstep(u * low.sign() / pixel, -0.7, 0.7)
    spar = 1 - smoothstep((torch.minimum(u.abs(), low.abs()) - 0.015) / pixel, -0.3, 0.7)
    tone = albedo * (0.62 + 0.46 * panel) * (1 - 0.55 * spar)
    thick = (0.5 * pixel).clamp_min(0.022)
    tail = torch.maximum((u - 0.10 * torch.sin(8 * (v - 0.66))).abs() - thick, (v - 0.95).abs() - 0.40)
    return _Form(distance=distance, depth=torch.zeros_like(u), albedo=tone, line=tail)


def _box(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    """A cube with a corner towards the camera: a hexagon of three faces, each in its own light."""
    distance = torch.maximum(u.abs(), u.abs() / 2 + v.abs() * math.sqrt(0.75)) - math.sqrt(0.75)
    top = smoothstep((-v - u.abs() / math.sqrt(3)) / pixel, -0.7, 0.7)
    right = smoothstep(u / pixel, -0.7, 0.7)
    tone = mix(mix(torch.full_like(u, 0.80), torch.full_like(u, 0.52), right), torch.full_like(u, 1.12), top)
    return _Form(
        distance=distance, depth=torch.zeros_like(u), albedo=(albedo * tone + 0.06 * top).clamp(0, 1)
    )


def _butterfly(u: Field, v: Field, wings: Field, pixel: Field, albedo: Pictures) -> _Form:
    across = u.abs() / wings
    p, q = across - 0.52, v + 0.36
    upper = _ellipse(0.83 * p - 0.56 * q, 0.56 * p + 0.83 * q, 0.66, 0.46)
    lower = _ellipse(across - 0.36, v - 0.38, 0.42, 0.44)
    wing = _smooth_union(upper, lower, 0.12) * wings
    body = (u.square() + (v.abs() - 0.40).clamp_min(0).square()).sqrt() - 0.075
    spot = ((across - 0.62).square() + (v + 0.42).square()).sqrt() - 0.13
    dark = torch.maximum(smoothstep(wing, -0.08, -0.03), 1 - smoothstep(body / pixel, -0.7, 0.7))
    tone = mix(albedo, _pale_like(albedo), 1 - smoothstep(spot / pixel, -0.7, 0.7))
    distance = torch.minimum(wing, body)
    return _Form(
        distance=distance,
        depth=_dome(body, 0.075) + 0.12 * across.clamp(0, 1),
        albedo=mix(tone, torch.full_like(tone, _DARK), dark),
    )


_FORMS: dict[Shape, Callable[[Field, Field, Field, Field, Pictures], _Form]] = {
    "ball": _ball,
    "balloon": _balloon,
    "star": _star,
    "heart": _heart,
    "kite": _kite,
    "box": _box,
    "butterfly": _butterfly,
}
# Centre, half width, half height in radii and strength: under what stands, behind what hangs on a wall.
_SHADOWS: dict[Shape, tuple[float, float, float, float, float]] = {
    "ball": (0.18, 1.0, 1.15, 0.30, 0.55),
    "balloon": (0.0, 0.0, 1.0, 1.0, 0.0),
    "star": (0.16, 0.20, 1.05, 1.05, 0.30),
    "heart": (0.16, 0.20, 1.10, 1.05, 0.30),
    "kite": (0.0, 0.0, 1.0, 1.0, 0.0),
    "box": (0.20, 0.92, 1.20, 0.32, 0.55),
    "butterfly": (0.0, 0.0, 1.0, 1.0, 0.0),
}
