"""The words that ask for another time of day or weather, or for no change."""

from vivace.data.instructions_grammar import Wording, Words

IDENTITY = Wording(
    train=Words(
        sentences=(
            "(leave|keep) <it> (as it is|unchanged|the way it is|untouched|exactly the same|alone)",
            "(do not|don't) (change|edit|alter|touch|modify) (<it>|anything)",
            "no (edit|edits|change|changes|effect|effects|filter|filters)",
            "(show|give me) the (original|unedited|source) (video|picture)",
            "(nothing|original|identity|unedited|none)",
            "I want (it|everything) to stay the same",
            "just pass <it> through",
            "make no changes (at all|to it)",
            "(reproduce|copy|repeat) <it> faithfully",
        ),
        commands=("leave it as it is",),
    ),
    held_out=Words(
        sentences=(
            "hands off <it>",
            "everything is fine as it stands",
            "<it> is perfect already, skip the editing",
            "(output|return) exactly what came in",
            "zero (alterations|modifications)",
            "preserve <it> with nothing added or removed",
            "no need to (adjust|retouch) anything",
            "stick with the camera image",
            "let <it> be",
        ),
        commands=("change nothing whatsoever",),
    ),
)

NIGHT = Wording(
    train=Words(
        names=(
            "a (night|nighttime) scene",
            "a (dark|moonlit|blue) night",
            "a scene at night under the moon",
        ),
        sentences=(
            "(night|nighttime|at night|by night)",
            "change the time of day to night",
            "make it (dark outside|nighttime)",
            "the sun has set and only the moon and a few lights shine",
            "<it> should (take place|be filmed|happen) at night",
            "(day|turn day) into night",
            "let (night|darkness) fall over <it>",
        ),
        commands=("make it night", "turn day into night"),
        modifiers=("nighttime", "moonlit"),
        tails=("at night", "under the moon"),
    ),
    held_out=Words(
        names=("a midnight scene", "an evening long after sunset", "a nocturne"),
        sentences=(
            "set <it> at midnight",
            "what if this happened after dark",
            "dim the daylight until only moonlight is left",
        ),
        commands=("set it after dark",),
        modifiers=("midnight", "nocturnal"),
        tails=("after dark", "at midnight"),
    ),
)

GOLDEN_HOUR = Wording(
    train=Words(
        names=(
            "a (golden hour|sunset) scene",
            "a warm (sunset|evening)",
            "a scene in the golden light of a low sun",
        ),
        sentences=(
            "(golden hour|sunset|at sunset|golden hour light)",
            "change the (lighting|light) to golden hour",
            "(bathe|light) <it> in warm (golden|sunset) light",
            "the sun is low and everything glows orange",
            "<it> should be filmed at (sunset|golden hour)",
            "add a warm sunset glow",
        ),
        commands=("make it sunset", "light it like golden hour"),
        modifiers=("sunset", "golden-hour"),
        tails=("at sunset", "in golden hour light"),
    ),
    held_out=Words(
        names=(
            "a dusk full of amber light",
            "a late summer evening with a setting sun",
            "a honey-colored sundown",
        ),
        sentences=(
            "let the last rays of the sun fall on <it>",
            "magic hour lighting",
            "shoot <it> just before the sun goes down",
        ),
        commands=("let the sun set over it",),
        modifiers=("sundown", "amber-lit"),
        tails=("at sundown", "in the last rays of sun"),
    ),
)

SNOW = Wording(
    train=Words(
        names=(
            "a (snowy|winter|snow-covered) scene",
            "a (snowy|cold winter) day",
            "a winter landscape with falling snow",
        ),
        sentences=(
            "(snow|snowfall|snowy|winter)",
            "add (snow|falling snow|some snow) (to <it>|)",
            "cover <it> (with|in) snow",
            "snow is falling and lies white on the ground",
            "change the (season|weather) to (winter|snow)",
            "<it> should be covered in fresh snow",
        ),
        commands=("let it snow", "make it snowy"),
        modifiers=("snowy", "snow-covered"),
        tails=("in the snow", "with falling snow"),
    ),
    held_out=Words(
        names=("a white Christmas morning", "a frosty place deep in January", "a gentle blizzard"),
        sentences=(
            "blanket everything in powdery white",
            "big flakes drift down over <it>",
            "a snowstorm has just arrived",
        ),
        commands=("send in a snowstorm", "cover it in powdery white"),
        modifiers=("wintry",),
        tails=("in a snowstorm", "under drifting flakes"),
    ),
)

RAIN = Wording(
    train=Words(
        names=(
            "a (rainy|wet|stormy) scene",
            "a (rainy|gray rainy) day",
            "a rainy day with wet ground",
        ),
        sentences=(
            "(rain|rainy|rainfall|heavy rain)",
            "add (falling rain|some rain|heavy rain) (to <it>|)",
            "change the weather to rain",
            "rain is pouring down and the ground is wet",
            "<it> should (be|take place) in the rain",
            "(soak|drench) <it> in rain",
        ),
        commands=("make it rain", "add rain"),
        modifiers=("rainy", "wet"),
        tails=("in the rain", "with rain falling"),
    ),
    held_out=Words(
        names=("a downpour", "a drizzly afternoon", "a scene in a cloudburst"),
        sentences=(
            "it's raining cats and dogs",
            "open the heavens over <it>",
            "streaks of water fall from a leaden sky",
        ),
        commands=("bring a downpour",),
        modifiers=("rain-soaked", "drizzly"),
        tails=("in a downpour",),
    ),
)

FOG = Wording(
    train=Words(
        names=(
            "a (foggy|misty|hazy) scene",
            "a (foggy|misty) morning",
            "a scene in thick fog",
        ),
        sentences=(
            "(fog|mist|foggy|misty|thick fog)",
            "add (some fog|mist|thick fog) (to <it>|)",
            "(hide|wrap|cover) <it> in (fog|mist)",
            "change the weather to fog",
            "a pale veil of mist hangs over everything far away",
            "<it> should disappear in fog",
        ),
        commands=("make it foggy", "add fog"),
        modifiers=("foggy", "misty"),
        tails=("in the fog", "in thick mist"),
    ),
    held_out=Words(
        names=("a murky haze", "a place lost in the clouds", "an autumn dawn with low visibility"),
        sentences=(
            "let a cloud roll in over <it>",
            "visibility drops to a few meters",
            "blur the distance with pale vapor",
        ),
        commands=("let haze roll in",),
        modifiers=("haze-filled",),
        tails=("in low-lying haze", "inside a cloud"),
    ),
)
