"""The words that ask to take an edit back: weather, time of day and colour grades."""

from vivace.data.instructions_grammar import Wording, Words


def _gone(thing: str, others: str) -> tuple[str, ...]:
    """Requests to take away what lies over a scene; `others` are alternatives to its name."""
    return (
        f"(remove|erase|delete|take away|get rid of|clear away|wipe away) the ({thing}|{others})",
        f"(take|move|wash) the {thing} (away|off) (from <it>|)",
        f"make the ({thing}|{others}) (disappear|vanish|go away|stop)",
        f"no (more|) ({thing}|{others})",
        f"(<it>|the same scene) without the ({thing}|{others})",
        f"I (don't|do not) want (to see|) the {thing}",
        f"undo the ({thing}|{others})",
        f"the ({thing}|{others}) (is gone|is over|should go)",
    )


def _gone_held_out(thing: str) -> tuple[str, ...]:
    return (
        f"(strip|filter) the {thing} out",
        f"(scrub|lift) away all that {thing}",
        f"how does <it> look once the {thing} has gone",
        f"pretend that there never was any {thing}",
        f"reveal what the {thing} hides",
        f"call the {thing} off",
        f"have the {thing} cleared up",
        f"leave no trace of the {thing}",
    )


def _light_back(name: str, others: str) -> tuple[str, ...]:
    """Requests for plain light in place of a named one."""
    return (
        f"(remove|undo|take away|take off|get rid of|drop) the ({name}|{others})",
        f"(from|not) {name} (back|) to (normal|plain|ordinary) (light|daylight)",
        f"no (more|) ({name}|{others})",
        f"(<it>|the same scene) without the ({name}|{others})",
        f"change the {name} back to (day|daylight|normal light)",
        f"I (don't|do not) want the ({name}|{others})",
        f"replace the ({name}|{others}) (with|by) (normal light|plain daylight)",
    )


def _tint_back(name: str, others: str) -> tuple[str, ...]:
    """Requests to have the true colours in place of a named tint."""
    return (
        f"(remove|undo|take away|take off|get rid of|drop) the ({name}|{others})",
        f"no (more|) ({name}|{others})",
        f"(<it>|the same scene) without the ({name}|{others})",
        f"(replace|swap) the ({name}|{others}) (with|by|for) (true|natural|normal|real) (colors|colours)",
        f"I (don't|do not) want the ({name}|{others})",
        f"(true|natural|normal|real) (colors|colours) instead of the ({name}|{others})",
    )


def _tint_back_held_out(name: str) -> tuple[str, ...]:
    return (
        f"(neutralize|correct|balance out) the {name}",
        f"filter the {name} out",
        f"let all hues return in place of the {name}",
        f"make <it> look as before the {name}",
        f"cancel the {name}",
        f"wash the {name} out of <it>",
        f"reverse the {name}",
        f"how was <it> before somebody added the {name}",
        f"white balance against the {name}",
        f"subtract the {name} so that the palette is complete again",
    )


def _light_back_held_out(name: str) -> tuple[str, ...]:
    return (
        f"(call off|reverse|neutralize) the {name}",
        f"relight <it> plainly, not as {name}",
        f"how was <it> before the {name}",
        f"swap the {name} for an ordinary afternoon",
        f"lift the {name} off <it>",
    )


SNOW = Wording(
    train=Words(
        sentences=(*_gone("snow", "snowflakes|snowfall"), "melt (all|) the snow", "let the snow melt")
    ),
    held_out=Words(
        sentences=(*_gone_held_out("snow"), "thaw <it>", "spring comes and everything white melts")
    ),
)
RAIN = Wording(
    train=Words(sentences=(*_gone("rain", "raindrops|rainfall"), "stop the rain", "make it dry again")),
    held_out=Words(sentences=(*_gone_held_out("rain"), "let the sky dry up", "the shower has passed")),
)
FOG = Wording(
    train=Words(sentences=(*_gone("fog", "mist|haze"), "(dehaze|defog) <it>", "make the air clear again")),
    held_out=Words(sentences=(*_gone_held_out("fog"), "let the veil of mist lift", "clear view, no murk")),
)
NIGHT = Wording(
    train=Words(
        sentences=(
            *_light_back("night", "darkness|nighttime"),
            "make it (day|daytime|daylight) again",
            "(turn|change) (night|the night) (into|to) day",
            "back to (day|daytime|daylight)",
            "bring the daylight back",
            "let the sun rise (again|over <it>)",
        )
    ),
    held_out=Words(
        sentences=(
            *_light_back_held_out("night"),
            "brighten the night into noon",
            "let morning come",
            "switch the sun back on",
            "show <it> as it is by day",
            "end the darkness with broad daylight",
        )
    ),
)
GOLDEN_HOUR = Wording(
    train=Words(
        sentences=(
            *_light_back("golden light", "sunset|golden hour|sunset light"),
            "(neutral|white) daylight instead of (golden light|sunset light)",
            "back from (sunset|golden hour) to noon",
        )
    ),
    held_out=Words(
        sentences=(
            *_light_back_held_out("sunset"),
            "cool the orange evening light down to neutral",
            "midday, not evening",
            "put the low sun high up again",
            "take the golden glow off everything",
            "white light where it was amber",
        )
    ),
)
SEPIA = Wording(
    train=Words(
        sentences=(
            *_tint_back("sepia", "sepia tone|brown tone|old photo look"),
            "give the sepia picture its (colors|colours) back",
            "make the old (brown|faded) photo modern and colorful again",
        )
    ),
    held_out=Words(sentences=(*_tint_back_held_out("sepia"), "restore <it> from a faded brown photograph")),
)
FILM_NOIR = Wording(
    train=Words(
        sentences=(
            *_tint_back("black and white", "film noir|noir look|gray"),
            "(give|bring) (<it>|) (the|its) (colors|colours) back",
            "(colorize|colourise) (<it>|the black and white picture)",
            "(color|put color into) the black and white (film|picture)",
            "make (<it>|everything) colorful again",
        )
    ),
    held_out=Words(
        sentences=(
            *_tint_back_held_out("black and white"),
            "from monochrome to full color",
            "as if the old movie had been shot on color film",
        )
    ),
)
BLUE = Wording(
    train=Words(
        sentences=(
            *_tint_back("blue", "blue tint|blue tone|blue filter"),
            "make (it|everything) less blue",
            "(<it>|everything) should not be blue (anymore|any more)",
        )
    ),
    held_out=Words(sentences=(*_tint_back_held_out("blue cast"), "nothing should be this bluish")),
)
RED = Wording(
    train=Words(
        sentences=(
            *_tint_back("red", "red tint|red tone|red filter"),
            "make (it|everything) less red",
            "(<it>|everything) should not be red (anymore|any more)",
        )
    ),
    held_out=Words(sentences=(*_tint_back_held_out("red cast"), "nothing should be this reddish")),
)
