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
# Share of samples that also show an object of another shape, which must stay as it is. Most do:
# where only one thing can be meant, a model learns to take whatever stands out.
OTHER_OBJECT_SHARE: dict[LocalKind, float] = {"remove": 0.65, "recolor": 0.6}


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
Half = tuple[Pictures, Pictures, Bool[Tensor, "r 1 h w"]]  # source, target and mask of one stream


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
        halves = [self._stream(each, seed + i, first_frame) for i, each in enumerate(_streams(video))]
        return _stacked(halves, video.dtype)

    @property
    def wanted_hue(self) -> float | None:
        """Of the colour asked for, in [0, 1)."""
        return None if self.color is None else colorsys.rgb_to_hsv(*NAMED_COLORS[self.color])[0]

    def _stream(self, pictures: Pictures, seed: int, first_frame: int) -> Half:
        if self.kind == "add":
            added = self._added(pictures)
            return pictures, added.over(pictures), added.is_touched()
        rng = random.Random(seed)
        shape = self.shape or rng.choice(SHAPES)
        frames, _, height, width = pictures.shape
        size = (height, width)
        pose = wandering_pose(rng, first_frame, (frames, *size), pictures.device)
        wanted = None if self.color is None else NAMED_COLORS[self.color]
        own = random_color(rng, self.wanted_hue)
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


def twin_pairs(
    families: tuple[LocalFamily, LocalFamily], video: Video, seed: int, first_frame: int = 0
) -> tuple[EditPair, EditPair]:
    """Two edits of the same source, which shows what both families name: words alone tell them apart.

    Both are removals or both recolourings, of different shapes.

    Raises:
        InputError: If they are not, or the video is not `b 3 r h w` of floating point.
    """
    kinds, shapes = {each.kind for each in families}, {each.shape for each in families}
    if len(kinds) != 1 or not kinds <= OTHER_OBJECT_SHARE.keys() or len(shapes - {None}) != 2:
        names = " and ".join(each.name for each in families)
        raise InputError(f"got {names}, expected two removals or two recolourings of different shapes")
    halves: tuple[list[Half], list[Half]] = [], []
    for i, pictures in enumerate(_streams(video)):
        rng = random.Random(seed + i)
        frames, _, *size = pictures.shape
        height, width = size
        poses = [wandering_pose(rng, first_frame, (frames, height, width), pictures.device) for _ in families]
        things = [
            draw_object(family.shape, random_color(rng, family.wanted_hue), pose, (height, width))
            for family, pose in zip(families, poses)
            if family.shape is not None
        ]
        source = things[1].over(things[0].over(pictures))
        for meant, family in enumerate(families):
            if family.color is None:
                target, mask = things[1 - meant].over(pictures), things[meant].is_touched()
            else:
                assert family.shape is not None
                color = NAMED_COLORS[family.color]
                changed = list(things)
                changed[meant] = draw_object(family.shape, color, poses[meant], (height, width))
                target = changed[1].over(changed[0].over(pictures))
                mask = things[meant].alpha > 0.02
            halves[meant].append((source, target, mask))
    return _stacked(halves[0], video.dtype), _stacked(halves[1], video.dtype)


def _streams(video: Video) -> tuple[Pictures, ...]:
    """The pictures of every stream of a batch."""
    if video.ndim != 5 or video.shape[1] != 3 or not video.is_floating_point():
        raise InputError(
            f"got a {video.dtype} video of shape {tuple(video.shape)}, expected floating point RGB "
            "`b 3 r h w` in [0, 1]; divide uint8 frames by 255 and move the channels first"
        )
    return rearrange(video.float(), "b c r h w -> b r c h w").unbind()


def _stacked(halves: list[Half], dtype: torch.dtype) -> EditPair:
    source, target, mask = (rearrange(torch.stack(part), "b r c h w -> b c r h w") for part in zip(*halves))
    return EditPair(source.to(dtype), target.to(dtype), mask)


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


def rivals_of(family: LocalFamily) -> tuple[LocalFamily, ...]:
    """What may be meant instead in a picture that shows two things: the same kind of edit, of another shape.

    None where nothing is named, or where words do not choose among what a picture shows.
    """
    if family.shape is None or family.kind not in OTHER_OBJECT_SHARE:
        return ()
    return tuple(
        each for each in LOCAL_FAMILIES if each.kind == family.kind and each.shape not in (None, family.shape)
    )
