"""Reduces an RGB frame to 256 colours of its own, for GIF."""

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

NUM_COLORS = 256
# Colours are chosen from about this many pixels: as good as all of them and ten times as fast.
NUM_SAMPLED_PX = 30_000


def to_palette(pixels: UInt8[np.ndarray, "h w c"]) -> av.VideoFrame:
    """A picture of format pal8; not dithered, because dither flickers in motion and swells the file."""
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / NUM_SAMPLED_PX) ** 0.5))
    sample = Image.fromarray(np.ascontiguousarray(pixels[::step, ::step]))
    chosen = sample.quantize(NUM_COLORS, method=Image.Quantize.FASTOCTREE)
    indices = Image.fromarray(pixels).quantize(palette=chosen, dither=Image.Dither.NONE)
    colors = np.frombuffer(bytes(indices.getpalette("RGB") or b""), dtype=np.uint8).reshape(-1, 3)
    argb = np.full((NUM_COLORS, 4), 255, dtype=np.uint8)
    argb[: len(colors), 1:] = colors[:NUM_COLORS]
    # PyAV takes the pair, its type hints do not know.
    return av.VideoFrame.from_ndarray((np.array(indices), argb), format="pal8")  # pyright: ignore[reportArgumentType]
