"""The words that ask for another palette."""

from vivace.data.instructions_grammar import Wording, Words

FILM_NOIR = Wording(
    train=Words(
        names=(
            "a (film noir|noir) (film|scene|movie)",
            "a black and white (movie|film|crime film)",
        ),
        sentences=(
            "(film noir|noir|black and white|noir style)",
            "(film|shoot) <it> in high contrast black and white",
            "take all the color out and deepen the shadows",
            "a detective movie from the forties with hard shadows",
            "<it> should look like film noir",
            "apply a (noir|black and white) (effect|filter|look)",
        ),
        commands=("make it black and white", "make it film noir"),
        modifiers=("black-and-white", "noir"),
        tails=("in black and white", "in film noir style"),
    ),
    held_out=Words(
        names=(
            "a monochrome thriller",
            "a gangster picture from 1945",
            "a colorless photograph with inky shadows",
        ),
        sentences=(
            "drain every color, crush the blacks",
            "hardboiled detective look",
            "monochrome with harsh stage light",
        ),
        commands=("go monochrome", "crush it to inky monochrome"),
        modifiers=("monochrome",),
        tails=("in stark monochrome",),
    ),
)

SEPIA = Wording(
    train=Words(
        names=(
            "a sepia (photograph|photo|picture)",
            "a (vintage|faded old) photograph",
            "an old brown photograph",
        ),
        sentences=(
            "(sepia|vintage|sepia tone|sepia style)",
            "(tone|tint) <it> (sepia|in sepia)",
            "as if photographed a hundred years ago",
            "faded brown tones of an antique photo",
            "<it> should look old and brown",
            "apply a (sepia|vintage) (effect|filter|look)",
        ),
        commands=("make it sepia", "give it an old photo look"),
        modifiers=("sepia",),
        tails=("in sepia tones", "like an old photograph"),
    ),
    held_out=Words(
        names=("a daguerreotype", "a nineteenth-century postcard", "a yellowed family album picture"),
        sentences=(
            "age <it> by a century",
            "old-timey brownish coloring",
            "let it yellow like great-grandmother's photos",
        ),
        commands=("age it by a century",),
        modifiers=("yellowed",),
        tails=("in faded antique brown",),
    ),
)

BLUE = Wording(
    train=Words(
        names=(
            "a (blue|deep blue|blue-tinted) (picture|scene)",
            "a picture in (shades of|nothing but) blue",
        ),
        sentences=(
            "(blue|all blue|blue tint)",
            "make (everything|the whole picture|all of it) blue",
            "(color|tint|dye|paint) <it> blue",
            "turn (everything|all colors) blue",
            "a cool blue color grade over everything",
            "<it> should be entirely blue",
            "apply a blue (effect|filter|tint)",
        ),
        commands=("make everything blue", "tint it blue"),
        modifiers=("blue",),
        tails=("in blue tones", "all in blue"),
    ),
    held_out=Words(
        names=("a cobalt monochrome", "a cyanotype", "a view through navy glass"),
        sentences=(
            "see the world through azure glasses",
            "only hues of indigo and azure remain",
            "bluewash the lot",
        ),
        commands=("drown it in azure",),
        modifiers=("cobalt",),
        tails=("in cobalt and azure",),
    ),
)

RED = Wording(
    train=Words(
        names=(
            "a (red|deep red|red-tinted) (picture|scene)",
            "a picture in (shades of|nothing but) red",
        ),
        sentences=(
            "(red|all red|red tint)",
            "make (everything|the whole picture|all of it) red",
            "(color|tint|dye|paint) <it> red",
            "turn (everything|all colors) red",
            "a hot red color grade over everything",
            "<it> should be entirely red",
            "apply a red (effect|filter|tint)",
        ),
        commands=("make everything red", "tint it red"),
        modifiers=("red",),
        tails=("in red tones", "all in red"),
    ),
    held_out=Words(
        names=("a crimson monochrome", "a darkroom under a safelight", "a view through ruby glass"),
        sentences=(
            "see the world through scarlet glasses",
            "only hues of crimson and scarlet remain",
            "bathe the lot in blood-colored light",
        ),
        commands=("drown it in crimson",),
        modifiers=("crimson",),
        tails=("in crimson and scarlet",),
    ),
)

AUTUMN = Wording(
    train=Words(
        names=(
            "an (autumn|autumnal) (scene|day|landscape)",
            "a (fall|colorful fall) scene",
            "a scene in (autumn|fall) colors",
        ),
        sentences=(
            "(autumn|fall|autumn colors|fall colors)",
            "change the season to (autumn|fall)",
            "turn the (leaves|grass and leaves|trees) orange and red",
            "golden and rusty leaves everywhere",
            "<it> should (look like|be in) (autumn|fall)",
        ),
        commands=("make it autumn", "turn the leaves orange"),
        modifiers=("autumn", "autumnal"),
        tails=("in autumn", "in fall colors"),
    ),
    held_out=Words(
        names=("an Indian summer afternoon", "an October forest", "a harvest-time view"),
        sentences=(
            "let the foliage go rusty",
            "October has come",
            "swap all greens for copper and amber foliage",
        ),
        commands=("let the foliage go rusty",),
        modifiers=("October",),
        tails=("in October", "at leaf-fall"),
    ),
)

THERMAL = Wording(
    train=Words(
        names=(
            "a (thermal|heat|thermal camera) image",
            "a thermal camera (view|picture|recording)",
            "a heat map",
        ),
        sentences=(
            "(thermal|thermal vision|heat vision|thermal camera)",
            "(show|film) <it> (through|with) a (thermal|heat) camera",
            "false colors from violet for cold to yellow for hot",
            "<it> should look like infrared thermal imaging",
            "apply a (thermal|heat map) (effect|filter|look)",
        ),
        commands=("make it thermal", "show it through a heat camera"),
        modifiers=("thermal",),
        tails=("in thermal colors", "seen by a heat camera"),
    ),
    held_out=Words(
        names=("an infrared scan", "a temperature picture", "a predator's heat-sensing view"),
        sentences=(
            "reveal the temperature of every object",
            "switch on the infrared goggles",
            "warm things yellow, cold things purple",
        ),
        commands=("switch to infrared",),
        modifiers=("infrared",),
        tails=("in infrared",),
    ),
)

CYBERPUNK = Wording(
    train=Words(
        names=(
            "a cyberpunk (scene|city|movie)",
            "a (futuristic|neon-lit) cyberpunk world",
        ),
        sentences=(
            "(cyberpunk|cyberpunk style|synthwave|cyberpunk colors)",
            "(light|color) <it> in (magenta and cyan|purple and teal)",
            "futuristic city light in magenta and cyan",
            "give <it> a (cyberpunk|synthwave) (look|grade|palette)",
            "<it> should look like a cyberpunk film",
            "apply a (cyberpunk|synthwave) (effect|filter)",
        ),
        commands=("make it cyberpunk", "light it in magenta and cyan"),
        modifiers=("cyberpunk",),
        tails=("in cyberpunk colors", "in magenta and cyan light"),
    ),
    held_out=Words(
        names=("a dystopian city of the future", "a vaporwave dream", "a night-club-colored sci-fi picture"),
        sentences=(
            "Blade Runner vibes in purple and turquoise",
            "flood everything with pink and turquoise future light",
            "vaporwave palette",
        ),
        commands=("flood it with pink and turquoise light",),
        modifiers=("vaporwave",),
        tails=("with vaporwave lighting",),
    ),
)
