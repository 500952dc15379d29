"""The programmatic edits as families, their combinations, and the edited half of a training pair.

Owns which global families exist and how an edit is applied to a video; the looks themselves are in `edits_*`,
the sentences that ask for them in `instructions*`, local families in `local_families`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data import edits_color, edits_light, edits_style, edits_weather

Kind = Literal["identity", "style", "light", "weather", "color"]
Look = Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n 3 h w"]]
ParticleAlpha = Float[Tensor, "1 1 r h w"]
ParticleColor = Float[Tensor, "1 3 1 1 1"]
# (shape of the video, seed, absolute index of its first raw frame, device) -> opacity, colour
Particles = Callable[[torch.Size, int, int, torch.device], tuple[ParticleAlpha, ParticleColor]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """One deterministic edit of a video: a look for every raw frame and, for weather, particles over it.

    The look sees one raw frame at a time and draws no random numbers, so it cannot flicker and a clip may be
    edited in pieces; the seed only places particles.
    """

    look: Look
    particles: Particles | None = None

    def base(self, video: Video) -> Video:
        """The edited video without its particle layer; sRGB in [0, 1], same shape and dtype."""
        num_streams = video.shape[0]
        pictures = rearrange(video.float(), "b c r h w -> (b r) c h w")
        edited = self.look(pictures).clamp(0, 1)
        return rearrange(edited, "(b r) c h w -> b c r h w", b=num_streams).to(video.dtype)

    def __call__(self, video: Video, seed: int, first_frame: int = 0) -> Video:
        """The edited video: `base` with the particles of raw frames `first_frame ...` over it.

        Raises:
            InputError: If the video is not `b 3 r h w` of floating point.
        """
        if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
            raise InputError(
                f"got a {video.dtype} video of shape {tuple(video.shape)}, expected floating point RGB "
                "`b 3 r h w` in [0, 1]; divide uint8 frames by 255 and move the channels first"
            )
        base = self.base(video)
        if self.particles is None:
            return base
        alpha, color = self.particles(video.shape, seed, first_frame, video.device)
        return torch.lerp(base.float(), color, alpha).clamp(0, 1).to(video.dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class EditFamily:
    """A kind of edit that an instruction can ask for."""

    name: str
    kind: Kind
    edit: Edit


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyPair:
    """Two families asked for in one instruction; `first` is applied first."""

    first: EditFamily
    second: EditFamily

    @property
    def name(self) -> str:
        """Both names, as in `snow+night`."""
        return f"{self.first.name}+{self.second.name}"

    @property
    def edit(self) -> Edit:
        """The combined edit."""
        return combine(self.first.edit, self.second.edit)


def combine(first: Edit, second: Edit) -> Edit:
    """The look of `second` on that of `first`; particles stay on top, those of `first` tinted by `second`.

    Raises:
        InputError: If both edits have particles.
    """
    if first.particles is not None and second.particles is not None:
        raise InputError("got two edits with falling particles; combine at most one of them with a look")
    particles = second.particles
    if first.particles is not None:
        particles = partial(_tinted, first.particles, second.look)
    return Edit(look=partial(_one_after_the_other, first.look, second.look), particles=particles)


def _one_after_the_other(first: Look, second: Look, pictures: Tensor) -> Tensor:
    return second(first(pictures).clamp(0, 1))


def _tinted(
    particles: Particles, look: Look, shape: torch.Size, seed: int, first_frame: int, device: torch.device
) -> tuple[ParticleAlpha, ParticleColor]:
    alpha, color = particles(shape, seed, first_frame, device)
    # The look of a small even patch is the look of the particle's colour in that light; a part of its own
    # brightness stays, because near particles catch light that the far scene does not.
    patch = look(color[:, :, 0].expand(1, 3, 16, 16)).clamp(0, 1).mean((-2, -1))
    return alpha, torch.lerp(patch[:, :, None, None, None], color, 0.35)


def _falling(
    layers: tuple[edits_weather.ParticleLayer, ...],
    rgb: tuple[float, float, float],
    shape: torch.Size,
    seed: int,
    first_frame: int,
    device: torch.device,
) -> tuple[ParticleAlpha, ParticleColor]:
    color = torch.tensor(rgb, device=device).view(1, 3, 1, 1, 1)
    return edits_weather.fall(layers, shape, seed, first_frame, device), color


def _unchanged(pictures: Tensor) -> Tensor:
    return pictures


def _family(name: str, kind: Kind, look: Look, particles: Particles | None = None) -> EditFamily:
    return EditFamily(name=name, kind=kind, edit=Edit(look=look, particles=particles))


IDENTITY = _family("identity", "identity", _unchanged)
PENCIL_SKETCH = _family("pencil_sketch", "style", edits_style.pencil_sketch)
CHARCOAL = _family("charcoal", "style", edits_style.charcoal)
WATERCOLOR = _family("watercolor", "style", edits_style.watercolor)
OIL_PAINTING = _family("oil_painting", "style", edits_style.oil_painting)
CARTOON = _family("cartoon", "style", edits_style.cartoon)
ANIME = _family("anime", "style", edits_style.anime)
PIXEL_ART = _family("pixel_art", "style", edits_style.pixel_art)
MOSAIC = _family("mosaic", "style", edits_style.mosaic)
NEON_EDGES = _family("neon_edges", "style", edits_style.neon_edges)
HALFTONE = _family("halftone", "style", edits_style.halftone)
EMBOSS = _family("emboss", "style", edits_style.emboss)
NIGHT = _family("night", "light", edits_light.night)
GOLDEN_HOUR = _family("golden_hour", "light", edits_light.golden_hour)
SNOW = _family(
    "snow",
    "weather",
    edits_weather.snow,
    partial(_falling, edits_weather.SNOW_LAYERS, edits_weather.SNOW_COLOR),
)
RAIN = _family(
    "rain",
    "weather",
    edits_weather.rain,
    partial(_falling, edits_weather.RAIN_LAYERS, edits_weather.RAIN_COLOR),
)
FOG = _family("fog", "weather", edits_weather.fog)
FILM_NOIR = _family("film_noir", "color", edits_color.film_noir)
SEPIA = _family("sepia", "color", edits_color.sepia)
BLUE = _family("blue", "color", edits_color.blue_grade)
RED = _family("red", "color", edits_color.red_grade)
AUTUMN = _family("autumn", "color", edits_color.autumn)
THERMAL = _family("thermal", "color", edits_color.thermal)
CYBERPUNK = _family("cyberpunk", "color", edits_color.cyberpunk)

FAMILIES: tuple[EditFamily, ...] = (
    IDENTITY,
    PENCIL_SKETCH,
    CHARCOAL,
    WATERCOLOR,
    OIL_PAINTING,
    CARTOON,
    ANIME,
    PIXEL_ART,
    MOSAIC,
    NEON_EDGES,
    HALFTONE,
    EMBOSS,
    NIGHT,
    GOLDEN_HOUR,
    SNOW,
    RAIN,
    FOG,
    FILM_NOIR,
    SEPIA,
    BLUE,
    RED,
    AUTUMN,
    THERMAL,
    CYBERPUNK,
)

PAIRS: tuple[FamilyPair, ...] = tuple(
    FamilyPair(first=first, second=second)
    for first, second in (
        (SNOW, NIGHT),
        (SNOW, GOLDEN_HOUR),
        (SNOW, WATERCOLOR),
        (SNOW, CARTOON),
        (RAIN, NIGHT),
        (RAIN, CYBERPUNK),
        (RAIN, FILM_NOIR),
        (RAIN, OIL_PAINTING),
        (FOG, GOLDEN_HOUR),
        (FILM_NOIR, FOG),
        (AUTUMN, OIL_PAINTING),
        (AUTUMN, WATERCOLOR),
        (AUTUMN, RAIN),
        (NIGHT, OIL_PAINTING),
        (ANIME, NIGHT),
        (GOLDEN_HOUR, WATERCOLOR),
        (GOLDEN_HOUR, OIL_PAINTING),
        (ANIME, GOLDEN_HOUR),
        (PENCIL_SKETCH, SEPIA),
        (PENCIL_SKETCH, BLUE),
        (CARTOON, FILM_NOIR),
        (PIXEL_ART, NIGHT),
        (SNOW, OIL_PAINTING),
        (SNOW, ANIME),
        (SNOW, FILM_NOIR),
        (SNOW, SEPIA),
        (RAIN, WATERCOLOR),
        (RAIN, ANIME),
        (RAIN, SEPIA),
        (OIL_PAINTING, SEPIA),
        (FOG, WATERCOLOR),
        (FOG, SEPIA),
        (AUTUMN, FOG),
        (AUTUMN, CARTOON),
        (AUTUMN, ANIME),
        (CARTOON, GOLDEN_HOUR),
        (ANIME, CYBERPUNK),
        (CHARCOAL, SEPIA),
    )
)


def family_named(name: str) -> EditFamily | FamilyPair:
    """The family (`snow`) or allowed pair (`snow+night`) of this name.

    Raises:
        InputError: If there is none; the message lists the names.
    """
    for candidate in (*FAMILIES, *PAIRS):
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in (*FAMILIES, *PAIRS))
    raise InputError(f"got the edit family {name!r}, expected one of: {names}")


def make_pair(video: Video, family: EditFamily | FamilyPair, seed: int, first_frame: int = 0) -> Video:
    """The edited video that belongs to a source video; sRGB in [0, 1], same shape, dtype and device.

    Args:
        video: The source, sRGB in [0, 1].
        family: What to do to it.
        seed: Places falling particles; nothing else depends on it.
        first_frame: Absolute index of the first raw frame, so that particles fall on across pieces.

    Raises:
        InputError: If the video is not `b 3 r h w` of floating point.
    """
    return family.edit(video, seed, first_frame)
