"""The words that ask for each drawing, painting and printing look."""

from vivace.data.instructions_grammar import Wording, Words

PENCIL_SKETCH = Wording(
    train=Words(
        names=(
            "a pencil (sketch|drawing)",
            "a graphite (sketch|drawing)",
            "a hand-drawn pencil sketch on white paper",
            "a sketch",
        ),
        sentences=(
            "(draw|sketch|redraw) <it> (with|in) pencil",
            "as if drawn with a soft graphite pencil",
            "pencil (sketch|drawing) style",
            "<it> should look (drawn|sketched) by hand with a pencil",
            "grey pencil lines on white paper with hatched shadows",
            "apply a pencil (sketch|drawing) (effect|filter|look)",
        ),
        commands=("sketch it in pencil", "make it a pencil sketch"),
        modifiers=("pencil-drawn", "hand-sketched"),
        tails=("drawn in pencil", "sketched with a pencil"),
    ),
    held_out=Words(
        names=("a drawing in soft graphite", "a page from an artist's sketchbook", "a rough pencil study"),
        sentences=(
            "all in pencil strokes and cross-hatching",
            "trace everything with a sharp pencil",
            "pretend an artist penciled <it> on paper",
        ),
        commands=("use pencil strokes only", "pencil everything"),
        modifiers=("penciled",),
        tails=("in graphite strokes",),
    ),
)

CHARCOAL = Wording(
    train=Words(
        names=(
            "a charcoal (drawing|sketch)",
            "a drawing in (black|smudged) charcoal",
            "a dark charcoal picture on rough paper",
        ),
        sentences=(
            "(draw|sketch|redraw) <it> (with|in) charcoal",
            "as if drawn with a stick of charcoal",
            "charcoal style",
            "smudged black charcoal on rough paper",
            "<it> should look drawn in charcoal",
            "apply a charcoal (effect|filter|look)",
        ),
        commands=("draw it in charcoal", "make it a charcoal drawing"),
        modifiers=("charcoal",),
        tails=("drawn in charcoal", "in smudged charcoal"),
    ),
    held_out=Words(
        names=("a sooty charcoal study", "an artist's charcoal work", "a piece of charcoal art"),
        sentences=(
            "rub <it> onto paper with burnt wood and soot",
            "all in coarse charcoal strokes",
            "think of smeared charcoal on grainy paper",
        ),
        commands=("use charcoal strokes only",),
        modifiers=("charcoal-smeared",),
        tails=("rendered with charcoal sticks",),
    ),
)

WATERCOLOR = Wording(
    train=Words(
        names=(
            "a (watercolor|watercolour) (painting|picture)",
            "a watercolor",
            "a soft painting in (watercolors|watercolours)",
            "a pale watercolor on white paper",
        ),
        sentences=(
            "(paint|repaint) <it> (in|with) (watercolors|watercolours)",
            "(watercolor|watercolour) style",
            "as if painted with thin washes of watercolor",
            "soft transparent washes of color bleeding on paper",
            "<it> should look painted with watercolors",
            "apply a (watercolor|watercolour) (effect|filter|look)",
        ),
        commands=("paint it in watercolor", "make it a watercolor"),
        modifiers=("watercolor",),
        tails=("painted in watercolor", "in soft watercolors"),
    ),
    held_out=Words(
        names=("an aquarelle", "a wet-on-wet watercolor study", "a delicate watercolor artwork"),
        sentences=(
            "brush everything in diluted pigments on wet paper",
            "an aquarelle look with pale washes",
            "use watery paint on textured paper",
        ),
        commands=("use watercolor washes", "wash it with aquarelle paint"),
        modifiers=("aquarelle",),
        tails=("as an aquarelle",),
    ),
)

OIL_PAINTING = Wording(
    train=Words(
        names=(
            "an oil painting",
            "a classical oil painting on canvas",
            "a painting in (oils|thick oil paint)",
            "an old master's oil painting",
        ),
        sentences=(
            "(paint|repaint) <it> (in|with) (oils|oil paint)",
            "oil (painting|paint) style",
            "as if painted with thick oil paint on canvas",
            "heavy brush strokes of rich oil color",
            "<it> should look like oil on canvas",
            "apply an oil painting (effect|filter|look)",
        ),
        commands=("paint it in oils", "make it an oil painting"),
        modifiers=("oil-painted",),
        tails=("painted in oils", "as an oil painting"),
    ),
    held_out=Words(
        names=("an oil canvas in a museum", "an impasto painting", "a work in oils by a great painter"),
        sentences=(
            "lay <it> down in impasto with a palette knife",
            "cover the canvas with dense oily brushwork",
            "oils on linen, visible bristle marks",
        ),
        commands=("use thick oily brushwork",),
        modifiers=("impasto",),
        tails=("on an oil canvas",),
    ),
)

CARTOON = Wording(
    train=Words(
        names=(
            "a cartoon",
            "a cartoon (drawing|scene)",
            "a hand-drawn animated cartoon",
            "a cartoon with bold black outlines",
        ),
        sentences=(
            "(cartoonize|cartoonise|toonify) <it>",
            "cartoon style",
            "draw <it> (as|like) a cartoon for children",
            "flat colors with (thick|bold) black outlines",
            "<it> should look like a Saturday morning cartoon",
            "apply a cartoon (effect|filter|look)",
        ),
        commands=("make it a cartoon", "cartoonize it"),
        modifiers=("cartoon",),
        tails=("in cartoon style", "drawn as a cartoon"),
    ),
    held_out=Words(
        names=("a toon", "a cel-shaded drawing", "a kids' TV animation"),
        sentences=(
            "outline everything in ink and fill it with flat color",
            "cel shading, please",
            "make everybody look like a cartoon character",
        ),
        commands=("cel-shade it", "give it a toon look"),
        modifiers=("cel-shaded",),
        tails=("with a toon look",),
    ),
)

ANIME = Wording(
    train=Words(
        names=(
            "an anime (scene|film|frame)",
            "a Japanese (anime|animation)",
            "a vivid anime picture",
        ),
        sentences=(
            "anime style",
            "(animefy|anime-fy) <it>",
            "draw <it> (as|like) a Japanese animated film",
            "vivid anime colors with soft glowing light",
            "<it> should look like anime",
            "apply an anime (effect|filter|look)",
        ),
        commands=("make it anime", "draw it in anime style"),
        modifiers=("anime",),
        tails=("in anime style", "with vivid anime colors"),
    ),
    held_out=Words(
        names=(
            "a still from a Tokyo animation studio",
            "a manga-inspired animated scene",
            "an anime background plate",
        ),
        sentences=(
            "as seen in a dreamy Japanese cartoon movie",
            "bring on bright anime skies and clean lines",
            "make <it> look like my favorite anime series",
        ),
        commands=("go full anime",),
        modifiers=("anime-inspired",),
        tails=("as a Japanese animation would draw it",),
    ),
)

PIXEL_ART = Wording(
    train=Words(
        names=(
            "pixel art",
            "(an 8-bit|a 16-bit) video game",
            "a retro pixel game",
            "a pixel art (scene|picture)",
        ),
        sentences=(
            "pixelate <it>",
            "pixel art style",
            "draw <it> in (big|coarse|chunky) pixels",
            "as on an old game console with few colors",
            "<it> should look like a retro video game",
            "apply a (pixel art|pixel|8-bit) (effect|filter|look)",
        ),
        commands=("make it pixel art", "pixelate it"),
        modifiers=("pixel-art", "pixelated"),
        tails=("in pixel art", "made of big pixels"),
    ),
    held_out=Words(
        names=("an arcade game sprite world", "a NES-era game screen", "a picture made of chunky pixels"),
        sentences=(
            "blocky pixels and a tiny palette",
            "as if played on a handheld console from 1989",
            "lower the resolution until you see blocky squares",
        ),
        commands=("use blocky arcade graphics",),
        modifiers=("blocky 8-bit",),
        tails=("with arcade graphics",),
    ),
)

MOSAIC = Wording(
    train=Words(
        names=(
            "a mosaic",
            "a (tile|ceramic|Roman) mosaic",
            "a mosaic of small square tiles",
        ),
        sentences=(
            "mosaic style",
            "lay <it> (out|) in (small|ceramic|colored) tiles",
            "build <it> from (little|square) tiles with grout between them",
            "as on the wall of a Roman bath",
            "<it> should look made of mosaic tiles",
            "apply a mosaic (effect|filter|look)",
        ),
        commands=("make it a mosaic", "build it from tiles"),
        modifiers=("tiled",),
        tails=("made of mosaic tiles", "as a mosaic"),
    ),
    held_out=Words(
        names=(
            "a Byzantine church wall of tesserae",
            "a floor of tiny colored stones",
            "a tiled wall picture",
        ),
        sentences=(
            "assemble <it> out of tesserae",
            "tiny glazed squares set in cement",
            "mosaic, like in Ravenna",
        ),
        commands=("assemble it from tesserae",),
        modifiers=("mosaic-tiled",),
        tails=("in tiny glazed tiles",),
    ),
)

NEON_EDGES = Wording(
    train=Words(
        names=(
            "glowing neon (lines|outlines|edges) on black",
            "a neon (drawing|outline drawing)",
            "a picture of neon tubes in the dark",
        ),
        sentences=(
            "neon (edges|outlines|lines)",
            "(draw|trace) <it> with glowing neon (lines|tubes)",
            "only glowing edges on a black background",
            "<it> should be nothing but neon contours",
            "apply a neon (edge|outline|glow) (effect|filter)",
        ),
        commands=("draw it in neon lines", "show only glowing edges"),
        modifiers=("neon-outlined",),
        tails=("drawn in neon lines", "with glowing outlines"),
    ),
    held_out=Words(
        names=("luminous contour lines over darkness", "a neon sign", "a light-tube drawing on a black wall"),
        sentences=(
            "black out everything except shining colored contours",
            "bend <it> out of neon tubing",
            "electric glowing outlines, the rest pitch black",
        ),
        commands=("leave only electric contours",),
        modifiers=("neon-tube",),
        tails=("in electric contours",),
    ),
)

HALFTONE = Wording(
    train=Words(
        names=(
            "a comic book (page|panel)",
            "a printed comic",
            "a pop art (print|comic)",
            "a halftone print",
        ),
        sentences=(
            "(comic book|comic|pop art|halftone) style",
            "print <it> with (halftone|comic book) dots",
            "as in a cheap newsprint comic from the sixties",
            "bright flat inks with a pattern of dots",
            "<it> should look like a superhero comic",
            "apply a (comic book|halftone|pop art) (effect|filter)",
        ),
        commands=("make it a comic book panel", "print it with halftone dots"),
        modifiers=("comic-book", "halftone"),
        tails=("in comic book style", "printed with halftone dots"),
    ),
    held_out=Words(
        names=("a graphic novel panel", "a Lichtenstein-like picture", "a dotted newsprint strip"),
        sentences=(
            "cover the shadows with Ben-Day dots",
            "ink <it> for a superhero magazine",
            "dotty pop-art printing",
        ),
        commands=("use Ben-Day dots",),
        modifiers=("pop-art",),
        tails=("with Ben-Day dots",),
    ),
)

EMBOSS = Wording(
    train=Words(
        names=(
            "a (stone|gray stone|marble) relief",
            "an embossed (picture|relief)",
            "a relief carved in stone",
        ),
        sentences=(
            "(emboss|carve) <it>",
            "embossed style",
            "carve <it> (in|into|out of) (stone|rock|marble)",
            "as if pressed into gray metal",
            "<it> should look chiseled in stone",
            "apply an emboss (effect|filter|look)",
        ),
        commands=("carve it in stone", "emboss it"),
        modifiers=("embossed", "stone-carved"),
        tails=("carved in stone", "as an embossed relief"),
    ),
    held_out=Words(
        names=("a bas-relief", "a chiseled slab of granite", "a plaster cast"),
        sentences=(
            "raise the contours like letters stamped in paper",
            "sculpt <it> into a flat gray wall",
            "bas-relief, lit from the side",
        ),
        commands=("sculpt it as a bas-relief",),
        modifiers=("chiseled",),
        tails=("stamped in plaster",),
    ),
)
