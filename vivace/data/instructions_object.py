"""The words that ask to add, take away or recolour an object, or to change everything but it.

Sentences are made from what a family names, so that words and pair always agree. Where a sentence names no
colour or no place, it asks for the object's first one.
"""

from collections.abc import Callable

from vivace.data.instructions_grammar import Split, Wording, Words
from vivace.data.local_families import ADDITIONS, Background, ColorName, LocalFamily, Place, Shape

_NOUNS: dict[Shape | None, str] = {
    None: "(object|thing)",
    "ball": "ball",
    "balloon": "balloon",
    "star": "star",
    "heart": "heart",
    "kite": "kite",
    "box": "(box|cube)",
    "butterfly": "butterfly",
}
_PLACES: dict[Split, dict[Place, str]] = {
    "train": {
        "left": "on the left|on the left side|to the left|at the left",
        "right": "on the right|on the right side|to the right|at the right",
        "middle": "in the middle|in the center|in the centre",
        "top": "at the top|above|high up|in the upper middle",
    },
    "held_out": {
        "left": "in the left part|on the left-hand side",
        "right": "in the right part|on the right-hand side",
        "middle": "at the center of <it>|in the very middle",
        "top": "in the upper part|near the upper edge",
    },
}
_COLORS: dict[Split, dict[ColorName, str]] = {
    "train": {color: f"{color}|bright {color}" for color in ("red", "blue", "green", "yellow")},
    "held_out": {color: f"{color}|{color}-colored" for color in ("red", "blue", "green", "yellow")},
}


def wording_of_local(family: LocalFamily) -> Wording:
    """The words for a local family."""
    if family.kind == "add":
        return Wording(train=_addition(family, "train"), held_out=_addition(family, "held_out"))
    noun = _NOUNS[family.shape]
    if family.kind == "remove":
        return _removal(noun)
    if family.color is not None:
        return _recoloring(noun, family.color)
    assert family.background is not None
    return _BACKGROUND_WORDINGS[family.background](
        "(object|thing)" if family.shape is None else noun, is_any=family.shape is None
    )


def wording_of_taking_back(family: LocalFamily) -> Wording:
    """The words for taking an added object away again; its colour is always named."""
    assert family.shape is not None
    assert family.color is not None
    noun = f"{family.color} {_NOUNS[family.shape]}"
    return Wording(
        train=Words(sentences=_take_away(f"{noun} {_place(family, 'train')}")),
        held_out=Words(sentences=_take_away_held_out(f"{noun} {_place(family, 'held_out')}")),
    )


def _place(family: LocalFamily, split: Split) -> str:
    assert family.shape is not None
    assert family.place is not None
    default = "" if family.place != ADDITIONS[family.shape].places[0] else "|"
    return f"({_PLACES[split][family.place]}{default})"


def _addition(family: LocalFamily, split: Split) -> Words:
    assert family.shape is not None
    assert family.color is not None
    default = "" if family.color != ADDITIONS[family.shape].colors[0] else "|"
    what = f"a ({_COLORS[split][family.color]}{default}) {_NOUNS[family.shape]}"
    where = _place(family, split)
    if split == "train":
        lines = (
            f"(add|put|place|draw|insert) {what} {where}",
            f"(I want|show|there should be|let there be|give me) {what} {where}",
            f"{what} {where}",
            f"<it> (needs|should have|with) {what} {where}",
            f"(make|let) {what} appear {where}",
            f"add {what} to <it> {where}",
        )
    else:
        lines = (
            f"(stick|drop|pop) {what} {where}",
            f"(could|can) there be {what} {where}",
            f"(imagine|picture) {what} {where}",
            f"I would (like|love) to see {what} {where}",
            f"what about {what} {where}",
            f"decorate <it> with {what} {where}",
        )
    return Words(sentences=lines)


def _take_away(noun: str) -> tuple[str, ...]:
    return (
        f"(remove|erase|delete|take away|get rid of|wipe out|eliminate) the {noun}",
        f"(take|move|throw) the {noun} (away|out)",
        f"make the {noun} (disappear|vanish|go away)",
        f"(no|without the|drop the|clear the) {noun}",
        f"I (don't|do not) want (to see|) the {noun}",
        f"the {noun} should (go|disappear|be gone|not be there)",
        f"let the {noun} (go away|vanish)",
        f"(cut|rub|crop|brush) the {noun} out",
        f"(I want|show) <it> (with no|without a|without any) {noun}",
        f"(there should be|let there be|keep) no {noun}",
        f"(remove|delete|erase|hide|take away) that {noun}",
        f"the {noun} (has to go|is not needed|bothers me)",
    )


def _take_away_held_out(noun: str) -> tuple[str, ...]:
    return (
        f"(scrub|edit|cut|paint) out the {noun}",
        f"(lose|discard) the {noun}",
        f"could you do away with the {noun}",
        f"there must not be any {noun}",
        f"pretend that there never was a {noun}",
        f"clean <it> of the {noun}",
        f"uncover what is behind the {noun}",
        f"how would <it> look if nobody had brought the {noun}",
    )


def _removal(noun: str) -> Wording:
    train = (
        *_take_away(noun),
        f"(remove|erase|delete|take) the {noun} (from|out of) <it>",
        f"<it> without the {noun}",
        f"fill in the {noun} with the background",
    )
    return Wording(train=Words(sentences=train), held_out=Words(sentences=_take_away_held_out(noun)))


def _recoloring(noun: str, color: ColorName) -> Wording:
    train = (
        f"make the {noun} (|bright ){color}",
        f"(paint|color|colour|dye|recolor|tint|turn) the {noun} {color}",
        f"change the {noun} to {color}",
        f"(change|set|switch) the (color|colour) of the {noun} to {color}",
        f"the {noun} (should be|has to be|must be|is now) {color}",
        f"give the {noun} a {color} (color|colour)",
        f"a {color} {noun} instead",
        f"I want the {noun} (to be|in) {color}",
        f"let the {noun} (be|become|turn) {color}",
        f"(only|just) the {noun} {color}",
        f"{color} for the {noun}",
        f"make it a {color} {noun}",
        f"<it> with the {noun} in {color}",
        f"replace the {noun} (with|by) a {color} one",
        f"(make|paint|turn|color) that {noun} {color}",
        f"(change|alter) the {noun} (into|to) a {color} one",
        f"the {noun} (in|as) {color}",
        f"(I want|give me|show) a {color} {noun} in place of this one",
        f"(recolor|repaint|redo) the {noun} in {color}",
        f"(a new color for|new color of) the {noun}: {color}",
        f"(dye|spray|coat) the {noun} in {color}",
        f"turn the color of the {noun} (into|to) {color}",
        f"the {noun}'s color (should be|becomes|changes to) {color}",
    )
    held_out = (
        f"could the {noun} become {color}",
        f"swap the {noun}'s color for {color}",
        f"what if the {noun} were {color}",
        f"a coat of {color} paint for the {noun}",
        f"show the {noun} in {color}",
        f"repaint the {noun} so that it is {color}",
        f"I would prefer a {color} {noun}",
        f"cover the {noun} in {color}",
        f"alter the {noun}'s color until it is {color}",
        f"{color} would suit the {noun} better",
        f"please have the {noun} dyed {color}",
        f"keep all else and make only the {noun} look {color}",
    )
    return Wording(train=Words(sentences=train), held_out=Words(sentences=held_out))


def _blurred(noun: str, *, is_any: bool) -> Wording:
    train = (
        f"(blur|defocus|soften|smear) everything (behind|around|but|except) the {noun}",
        f"(blur|defocus|soften) the (background|backdrop) (behind|around|of) the {noun}",
        f"keep (only|just) the {noun} (sharp|in focus)",
        f"focus (only|) on the {noun} and blur the rest",
        f"the {noun} sharp, everything else (blurry|blurred|out of focus)",
        f"only the {noun} should be (sharp|in focus)",
        f"(make|let) everything but the {noun} (be|) (blurry|soft)",
        f"a (blurry|blurred|soft) background behind the {noun}",
    )
    held_out = (
        f"shallow depth of field with the {noun} in focus",
        f"a creamy bokeh behind the {noun}",
        f"throw all that surrounds the {noun} out of focus",
        f"make the {noun} stand out from hazy surroundings",
        f"let the world behind the {noun} become fuzzy",
        f"portrait mode for the {noun}",
    )
    if is_any:
        train += (
            "(blur|defocus|soften) the (background|backdrop|surroundings)",
            "(make|turn) the background (blurry|blurred|soft|out of focus)",
            "(blurry|blurred|unsharp|soft) background",
            "put the background out of focus",
        )
        held_out += ("shallow depth of field", "background bokeh")
    else:
        held_out += _sharp_held_out(noun)
        train += (
            f"(blur|defocus|soften) the (surroundings|scenery) of the {noun}",
            f"put everything (behind|around) the {noun} out of focus",
            f"<it> blurred except for the {noun}",
            f"(leave|let) the {noun} sharp and (blur|soften) all else",
            f"keep the {noun} (clear|crisp|sharp) and (blur|defocus|soften) the (rest|background)",
        )
    return Wording(train=Words(sentences=train), held_out=Words(sentences=held_out))


def _sharp_held_out(noun: str) -> tuple[str, ...]:
    return (
        f"a portrait lens pointed at the {noun}",
        f"nothing crisp besides the {noun}",
        f"could all but the {noun} lose its sharpness",
        f"separate the {noun} by a wide-open aperture",
        f"melt the scenery behind the {noun}",
        f"let the {noun} be the one crisp thing",
    )


def _grayed(noun: str, *, is_any: bool) -> Wording:
    train = (
        f"keep (only|just|) the {noun} in color and (turn|make) (everything else|the rest) black and white",
        f"everything (but|except|around|behind) the {noun} (in|turns) (black and white|gray|grey)",
        f"make everything (but|except|behind) the {noun} (black and white|gray|grey|colorless)",
        f"(only|just) the {noun} (in color|keeps its color|stays colored)",
        f"(desaturate|decolor) everything (but|except|around) the {noun}",
        f"a (black and white|gray|grey) background behind the {noun}",
        f"remove the color from everything (but|except) the {noun}",
        f"<it> in black and white except for the {noun}",
    )
    held_out = (
        f"selective color: just the {noun}",
        f"drain the color around the {noun}",
        f"the {noun} as the only spot of color in a monochrome world",
        f"let all but the {noun} lose its hues",
        f"leave the {noun} vivid in a colorless scene",
        f"monochrome surroundings for the {noun}",
        f"put the {noun} before a greyscale backdrop",
        f"could the {noun} alone be colorful",
        f"no hue anywhere besides the {noun}",
        f"bleach all that surrounds the {noun}",
        f"a newspaper photo with a colorful {noun}",
        f"strip every hue that does not belong to the {noun}",
    )
    if is_any:
        train += (
            "(turn|make) the background (black and white|gray|grey|colorless)",
            "(desaturate|decolor) the background",
            "(black and white|gray|grey) background",
        )
        held_out += ("selective color", "a monochrome backdrop")
    return Wording(train=Words(sentences=train), held_out=Words(sentences=held_out))


def _darkened(noun: str, *, is_any: bool) -> Wording:
    train = (
        f"(darken|dim|black out) everything (but|except|behind|around) the {noun}",
        f"make everything (but|except|behind|around) the {noun} (dark|darker|nearly black)",
        f"(darken|dim) the (background|backdrop|surroundings) (behind|around) the {noun}",
        f"only the {noun} (is lit|stays bright|should be bright)",
        f"(keep|leave) the {noun} bright and (darken|dim) (the rest|everything else)",
        f"a dark background (behind|around) the {noun}",
        f"turn the (light|lights) off (behind|around) the {noun}",
        f"the {noun} (in the light|bright), everything else (dark|in the dark)",
        f"<it> (dark|darkened|in the dark) except for the {noun}",
        f"light only (on|for) the {noun}",
    )
    held_out = (
        f"put a spotlight on the {noun}",
        f"let the {noun} shine out of the gloom",
        f"shade all that surrounds the {noun}",
        f"a gloomy backdrop for the {noun}",
        f"lower the brightness of all but the {noun}",
        f"the {noun} alone keeps its light",
        f"sink the scenery behind the {noun} into shadow",
        f"make the {noun} the one bright spot",
        f"could the rest be underexposed and the {noun} not",
        f"cast shadow on whatever is not the {noun}",
        f"hide the scenery behind the {noun} in blackness",
        f"stage light for the {noun} only",
    )
    if is_any:
        train += (
            "(darken|dim|black out) the (background|backdrop|surroundings)",
            "(make|turn) the background (dark|darker|nearly black)",
            "(dark|dimmed|almost black) background",
        )
        held_out += ("a gloomy backdrop", "sink the scenery into shadow")
    return Wording(train=Words(sentences=train), held_out=Words(sentences=held_out))


_BACKGROUND_WORDINGS: dict[Background, Callable[..., Wording]] = {
    "blur": _blurred,
    "gray": _grayed,
    "dark": _darkened,
}
