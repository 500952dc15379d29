"""A small grammar of edit requests over kinds of words, and what makes a word visual; knows no dictionary."""

import random
from collections.abc import Mapping, Sequence

# Beginnings of words that speak of what a picture looks like, as patterns; whole words end in \b.
_STEMS = r"""
    colou?r hue tint tinge shade tone\b tones\b pigment dye stain gr[ae]y black white red\b reddish
    scarlet crimson pink purpl violet magenta blue bluish cyan teal\b turquoise green yellow golden
    gold\b amber orange brown beige silver bronze copper pale\b vivid bright dark dim\b gloom glow gleam
    glint glitter shin[ey] shiny spark lumin radian light\b lights\b lighting lamp lantern candle neon
    fluoresc moon star\b stars\b starry sun\b sunn sunlight sunset sunrise dawn dusk twilight evening
    morning midnight night shadow silhouette snow frost ice\b icy frozen freez rain\b rainy rainfall
    drizzl storm thunder fog mist\b misty haz[ey]\b smoke smog steam vapou?r cloud wind\b weather winter
    summer autumn season leaf\b leaves foliage flower blossom tree\b trees\b forest meadow mountain
    desert ocean sea\b river lake beach sky\b horizon landscape paint canvas brush oil\b watercolo
    aquarelle draw(?:ing|n) sketch pencil charcoal chalk crayon pastel ink\b inked engrav etch
    print(?:ed|ing|s)?\b lithogra poster photograph camera film\b films\b movie cinema cartoon comic
    animat pixel image picture portrait sculpt statue carv(?:ed|ing) relief mosaic tile ceramic pottery
    stone\b marble granite metal glass\b jewel gem\b gems\b ruby sapphire emerald textur pattern stripe
    spotted dotted surface outline contour edge\b edges\b blur transparen translucen opaque heat\b
    infrared temperature futurist robot ancient antique medieval victorian style\b artist impressionis
    visual visib look(?:s|ed|ing)?_like resembl
"""
VISUAL_STEMS: tuple[str, ...] = tuple(stem.replace("_", " ") for stem in _STEMS.split())

# Kind of word -> a name and a piece of the definition of the meaning that all words of the kind lie below.
GRAMMAR_KINDS: Mapping[str, tuple[str, str]] = {
    "color": ("chromatic color", "a color that has hue"),
    "painter": ("painter", "an artist who paints"),
    "filmmaker": ("filmmaker", "a producer of motion pictures"),
    "photographer": ("photographer", "takes photographs professionally"),
    "movement": ("art movement", "agree on general principles"),
    "painting": ("painting", "artistic composition made by applying paints"),
    "drawing": ("drawing", "by means of lines"),
    "photo": ("photograph", "in the form of a print"),
    "printing": ("printing", "reproduction by applying ink"),
    "sculpture": ("plastic art", "shaping or modeling"),
    "movie": ("movie", "a form of entertainment that enacts"),
    "weather": ("weather", "the atmospheric conditions"),
    "precipitation": ("precipitation", "the falling to earth"),
    "cloud": ("cloud", "water or ice particles"),
    "season": ("season", "natural periods"),
    "holiday": ("holiday", "suspended by law"),
    "hour": ("time of day", "clock time"),
    "lamp": ("lamp", "artificial source of visible"),
    "light": ("light", "the visual effect of illumination"),
    "gem": ("gem", "a crystalline rock"),
    "pigment": ("pigment", "dry coloring material"),
    "dye": ("dye", "staining or coloring"),
    "fabric": ("fabric", "made by weaving"),
    "rock": ("rock", "the aggregate of minerals"),
    "metal": ("metal", "two or more metallic"),
    "wood": ("wood", "hard fibrous lignified"),
    "texture": ("texture", "the feel of a surface"),
    "city": ("city", "large and densely populated"),
    "mountain": ("mountain", "projects well above"),
    "island": ("island", "surrounded by water"),
    "flower": ("flower", "cultivated for its blooms"),
    "tree": ("tree", "tall perennial woody"),
    "fruit": ("fruit", "ripened reproductive body"),
    "bird": ("bird", "egg-laying vertebrates"),
    "mammal": ("mammal", "warm-blooded vertebrate having"),
    "building": ("building", "has a roof and walls"),
    "vehicle": ("vehicle", "a conveyance"),
    "clothing": ("clothing", "designed to be worn"),
    "furniture": ("furniture", "ready for occupancy"),
    "drink": ("beverage", "suitable for drinking"),
    "character": ("fictional character", "work of fiction"),
}

# How often a group is drawn, and its patterns.
_PATTERNS = """
    8: paint it like {painter} / in the manner of {painter} / a {painting} by {painter} /
       {painter} {color} period / as if {painter} had painted this / make it look like a {painter} /
       could {painter} have painted it?
    4: as filmed by {filmmaker} / a {movie} by {filmmaker} / like in a {filmmaker} film /
       {filmmaker} lighting / shot by {photographer} / a {photo} by {photographer} /
       grade it like a {filmmaker} {movie}
    4: make it {movement} / turn it into a {movement} {painting} / a picture of the {movement}
    6: turn the video into a {painting} / make it a {drawing} / convert it to {printing} /
       show it as a {photo} / I want a {drawing} of the {building} / render the {vehicle} as a {painting} /
       like an old {photo} / could you make it a {sculpture}? / redo the scene as {sculpture} /
       a {color} {drawing} on paper
    10: tint everything {color} / make the {clothing} {color} / turn the {vehicle} {color} /
       paint the {building} {color} / change the {furniture} to {color} / dye it with {dye} /
       recolor the {bird} {color} / a {color} cast / {color} light on the {building} / colours of {pigment} /
       {color} and {color} tones / the colour of {gem} / the colour of {flower} / the colour of {drink} /
       soaked in {drink} / {color} like {fruit} / a {color} {light} / replace the {color} by {color} /
       give it the colour of {wood} / stained with {pigment}
    9: add {precipitation} / make it look like {weather} / set it in {weather} /
       there should be {cloud} in the sky / {city} in the {precipitation} / {season} on {mountain} /
       remove the {precipitation} / a day of {weather} / turn the {season} into {season} /
       {precipitation} over the {building} / the {weather} is gone / {cloud} over {island} /
       no more {weather} / {weather} in {city} / the {tree} in {season} /
       {flower} covered in {precipitation}
    6: set it at {hour} / it is {hour} in {city} / lit by a {lamp} / a {lamp} glows in the dark /
       {hour} on {island} / celebrate {holiday} / {holiday} in the {season} / light it with a {lamp} /
       more {light} / a soft {light} at {hour} / the {lamp} is the only light / {city} at night /
       sunset over {island} / {mountain} at sunrise
    8: made of {rock} / carved in {rock} / cast in {metal} / cover it with {fabric} /
       turn the {vehicle} to {metal} / a {texture} surface of {wood} / set with {gem} /
       {fabric} with a {color} pattern / woven from {fabric} / the {building} is built of {rock} /
       {texture} like {fabric} / hammered {metal} / a relief in {rock} / a mosaic of {rock} and {gem}
    8: add a {color} {vehicle} on the left / remove the {furniture} / put a {bird} in the sky /
       take away the {clothing} / place a {mammal} in the middle / add {flower} at the bottom /
       delete the {building} on the right / let a {bird} fly past / replace the {vehicle} by a {vehicle} /
       blur everything but the {mammal} / put a {fruit} on the {furniture} /
       hide the {tree} in the background / add a {tree} at the top right /
       make the background dark behind the {furniture} / only the {clothing} in colour
    5: take me to {city} / as if it were in {city} / the streets of {city} / on {island} in {season} /
       on top of {mountain} / a {building} in {city} / where {character} lives /
       like {character} in a {movie} / turn me into {character} / a {movie} scene at {hour} /
       the {season} {light} of {city}
"""
_BEFORE = ("please", "can you", "could you please", "now", "let's", "I want you to")
_VERBS = """
    add blur carve cast celebrate change convert cover delete dye give grade hide let light make paint
    place put recolor redo remove render replace set show take tint turn
"""
_REQUESTS = frozenset(_VERBS.split())


def _groups() -> tuple[list[int], list[list[str]]]:
    weights: list[int] = []
    groups: list[list[str]] = []
    for line in _PATTERNS.strip().splitlines():
        weight, colon, patterns = line.strip().rpartition(": ")
        if colon:
            weights.append(int(weight))
            groups.append([])
        groups[-1] += [pattern.strip() for pattern in patterns.split(" / ")]
    return weights, [[pattern.removesuffix(" /") for pattern in group] for group in groups]


def edit_sentences(words: Mapping[str, Sequence[str]], num_sentences: int, rng: random.Random) -> list[str]:
    """Different requests, at most `num_sentences`, with names of the kinds in `words` filled in.

    Names of more than three words, with digits, or scientific ones (of a capitalised genus) are left out.
    """
    plain = {kind: [name for name in names if _is_plain(kind, name)] for kind, names in words.items()}
    weights, groups = _groups()
    found: dict[str, None] = {}
    for _ in range(2 * num_sentences):
        if len(found) == num_sentences:
            break
        (group,) = rng.choices(groups, weights)
        pattern = rng.choice(group)
        for kind, names in plain.items():
            while f"{{{kind}}}" in pattern:
                pattern = pattern.replace(f"{{{kind}}}", rng.choice(names), 1)
        is_polite = rng.random() < 0.3 and pattern.split()[0].lower() in _REQUESTS
        found[f"{rng.choice(_BEFORE)} {pattern}" if is_polite else pattern] = None
    return list(found)


def _is_plain(kind: str, name: str) -> bool:
    is_scientific = kind in ("flower", "tree", "fruit", "bird", "mammal") and name[:1].isupper()
    has_words = len(name.split()) <= 3 and all(c.isalpha() or c in " '-." for c in name)
    return has_words and len(name) > 2 and not is_scientific
