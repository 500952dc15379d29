"""The local edit families: an object added, taken away or recoloured, or everything but it changed.

Owns which concrete families exist and how their pairs are made; drawing is in `edits_object`, sentences in
`instructions_object`.
"""

import colorsys
import random
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor

from vivace.core.errors import InputError
from vivace.core.shapes import Video
from vivace.data.edits_filter import Pictures, blur, color_like, luma, mix
from vivace.data.edits_object import (
    SHAPES,
    DrawnObject,
    Rgb,
    Shape,
    draw_object,
    fixed_pose,
    random_color,
    wandering_pose,
)

LocalKind = Literal["add", "remove", "recolor", "background"]
ColorName = Literal["red", "blue", "green", "yellow"]
Place = Literal["left", "right", "middle", "top"]
Background = Literal["blur", "gray", "dark"]
COLOR_NAMES: tuple[ColorName, ...] = get_args(ColorName)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)

NAMED_COLORS: dict[ColorName, Rgb] = {
    "red": (0.86, 0.08, 0.09),
    "blue": (0.08, 0.28, 0.88),
    "green": (0.08, 0.60, 0.18),
    "yellow": (0.97, 0.80, 0.08),
}
# Share of samples that also show an object of another shape, which must stay as it is. Of removals most do:
# where only one thing can be meant, a model learns to take whatever stands out.
OTHER_OBJECT_SHARE: dict[LocalKind, float] = {"remove": 0.65, "recolor": 0.3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Addition:
    """Where and how large an object appears when it is asked for; shares of the picture's size.

    The first colour and the first place are meant where the words name none.
    """

    colors: tuple[ColorName, ...]
    places: tuple[Place, ...]
    y: float
    height: float


ADDITIONS: dict[Shape, Addition] = {
    "balloon": Addition(
        colors=("red", "blue", "green", "yellow"), places=("right", "left", "middle"), y=0.40, height=0.36
    ),
    "ball": Addition(
        colors=("blue", "red", "green", "yellow"), places=("left", "right", "middle"), y=0.74, height=0.30
    ),
    "star": Addition(
        colors=("yellow", "red", "blue", "green"), places=("top", "left", "right"), y=0.42, height=0.32
    ),
    "heart": Addition(
        colors=("red", "blue", "green", "yellow"), places=("middle", "left", "right"), y=0.46, height=0.32
    ),
}
_PLACE_X: dict[Place, float] = {"left": 0.18, "right": 0.82, "middle": 0.5, "top": 0.5}
_TOP_Y = 0.20
RECOLORED_SHAPES: tuple[Shape, ...] = ("ball", "balloon", "star", "heart", "box")
BACKGROUND_SHAPES: tuple[Shape, ...] = ("ball", "balloon")


@dataclass(frozen=True, slots=True)
class EditPair:
    """Both halves of a training pair, sRGB in [0, 1], and the region where they are meant to differ.

    Attributes:
        source: What the editor is given; the footage, or the footage with something drawn into it.
        target: What it is asked for.
        mask: The edited region, `b 1 r h w`, True inside; None where the whole picture is edited.
    """

    source: Video
    target: Video
    mask: Bool[Tensor, "b 1 r h w"] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFamily:
    """One concrete local edit; what its sentences name is fixed here, all else is drawn from the seed.

    Attributes:
        shape: The object meant; None where the words say only "object", of any shape.
        color: The colour asked for, of an added or recoloured object.
        place: Where an object is added.
        background: What happens to everything but the object.
    """

    name: str
    kind: LocalKind
    shape: Shape | None = None
    color: ColorName | None = None
    place: Place | None = None
    background: Background | None = None

    def __call__(self, video: Video, seed: int, first_frame: int = 0) -> EditPair:
        """The pair made from footage; stream `i` of the batch is what it would be alone with seed + i.

        An added object is the same on every footage: words and picture alone decide where it is and how it
        looks. An object that the source shows wanders, turns, and is of random size and colour.

        Raises:
            InputError: If the video is not `b 3 r h w` of floating point.
        """
        if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
            raise InputError(
                f"got a {video.dtype} video of shape {tuple(video.shape)}, expected floating point RGB "
                "`b 3 r h w` in [0, 1]; divide uint8 frames by 255 and move the channels first"
            )
        pictures = rearrange(video.float(), "b c r h w -> b r c h w")
        halves = [self._stream(each, seed + i, first_frame) for i, each in enumerate(pictures.unbind())]
        source, target, mask = (
            rearrange(torch.stack(part), "b r c h w -> b c r h w") for part in zip(*halves)
        )
        return EditPair(source.to(video.dtype), target.to(video.dtype), mask)

    def _stream(self, pictures: Pictures, seed: int, first_frame: int) -> tuple[Tensor, Tensor, Tensor]:
        if self.kind == "add":
            added = self._added(pictures)
            return pictures, added.over(pictures), added.is_touched()
        rng = random.Random(seed)
        shape = self.shape or rng.choice(SHAPES)
        frames, _, height, width = pictures.shape
        size = (height, width)
        pose = wandering_pose(rng, first_frame, (frames, *size), pictures.device)
        wanted = None if self.color is None else NAMED_COLORS[self.color]
        own = random_color(rng, None if wanted is None else colorsys.rgb_to_hsv(*wanted)[0])
        thing = draw_object(shape, own, pose, size)
        if self.shape is not None and self.kind != "background":
            pictures = self._with_another(pictures, rng, first_frame)
        source = thing.over(pictures)
        if self.kind == "remove":
            return source, pictures, thing.is_touched()
        if wanted is not None:
            return source, draw_object(shape, wanted, pose, size).over(pictures), thing.alpha > 0.02
        return source, thing.over(self._backdrop(pictures)), thing.alpha < 0.98

    def _added(self, pictures: Pictures) -> DrawnObject:
        assert self.shape is not None
        assert self.color is not None
        assert self.place is not None
        addition = ADDITIONS[self.shape]
        y = _TOP_Y if self.place == "top" else addition.y
        frames, _, height, width = pictures.shape
        x = _PLACE_X[self.place]
        pose = fixed_pose(x, y, addition.height, (frames, height, width), pictures.device)
        return draw_object(self.shape, NAMED_COLORS[self.color], pose, (height, width))

    def _with_another(self, pictures: Pictures, rng: random.Random, first_frame: int) -> Pictures:
        """Sometimes an object of another shape, so that it matters which one the words name."""
        if rng.random() >= OTHER_OBJECT_SHARE[self.kind]:
            return pictures
        others: list[Shape] = [each for each in SHAPES if each != self.shape]
        shape = rng.choice(others)
        frames, _, height, width = pictures.shape
        pose = wandering_pose(rng, first_frame, (frames, height, width), pictures.device)
        return draw_object(shape, random_color(rng), pose, (height, width)).over(pictures)

    def _backdrop(self, pictures: Pictures) -> Pictures:
        if self.background == "blur":
            return blur(pictures, 5.0)
        if self.background == "gray":
            return luma(pictures).expand_as(pictures)
        return mix(luma(pictures), pictures, 0.7) * color_like(pictures, (0.22, 0.23, 0.27))


def _additions() -> tuple[LocalFamily, ...]:
    return tuple(
        LocalFamily(name=f"add_{color}_{shape}_{place}", kind="add", shape=shape, color=color, place=place)
        for shape, addition in ADDITIONS.items()
        for color in addition.colors
        for place in addition.places
    )


def _removals() -> tuple[LocalFamily, ...]:
    return tuple(
        LocalFamily(name=f"remove_{shape or 'object'}", kind="remove", shape=shape)
        for shape in (None, *SHAPES)
    )


def _recolorings() -> tuple[LocalFamily, ...]:
    return tuple(
        LocalFamily(name=f"recolor_{shape or 'object'}_{color}", kind="recolor", shape=shape, color=color)
        for shape in (None, *RECOLORED_SHAPES)
        for color in COLOR_NAMES
    )


def _backgrounds() -> tuple[LocalFamily, ...]:
    return tuple(
        LocalFamily(
            name=f"{effect}_background" if shape is None else f"{effect}_behind_{shape}",
            kind="background",
            shape=shape,
            background=effect,
        )
        for effect in BACKGROUNDS
        for shape in (None, *BACKGROUND_SHAPES)
    )


# One tuple for each kind, so that a kind can be drawn before a family of it: additions are many.
LOCAL_GROUPS: tuple[tuple[LocalFamily, ...], ...] = (
    _additions(),
    _removals(),
    _recolorings(),
    _backgrounds(),
)
LOCAL_FAMILIES: tuple[LocalFamily, ...] = tuple(family for group in LOCAL_GROUPS for family in group)
