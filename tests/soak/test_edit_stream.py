"""A long stream through the bundled model: memory, state and picture stay as they were."""

from fractions import Fraction
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from resident_memory import ResidentMemory
from vivace.catalog.editor import LiveStream, open_editor
from vivace.data.video_source import open_source
from vivace.state.tree import tree_tensors

CLIP = Path(__file__).parents[2] / "examples" / "media" / "cockatoo.mp4"
NUM_FRAMES = 10_000
PUSH = 8
SIZE = (160, 96)


def ping_pong() -> np.ndarray:
    """The bundled clip forth and back, without a cut where it repeats."""
    with open_source(CLIP, duration_s=Fraction(4)) as source:
        frames = np.stack([frame.pixels for frame in source])
    return np.concatenate([frames, frames[-2:0:-1]])


def is_finite(live: LiveStream) -> bool:
    memories = live.memories
    parts = [memories.encoder, memories.dit, memories.decoder]
    leaves = [leaf for part in parts if part is not None for _, leaf in tree_tensors(part.peek())]
    assert leaves
    return all(leaf.isfinite().all().item() for leaf in leaves)


@pytest.mark.slow
def test_a_long_edit_neither_grows_nor_drifts_nor_collapses():
    source = ping_pong()
    period = len(source)
    editor = open_editor("tiny-edit", device="cpu")
    rss, state_bytes = ResidentMemory(), set()
    brightness, contrast = [], []
    begin = perf_counter()
    with editor.open("make it a snowy night", size=SIZE) as live:
        for start in range(0, NUM_FRAMES, PUSH):
            edited = live.push(source[np.arange(start, start + PUSH) % period])
            brightness += edited.mean(axis=(1, 2, 3)).tolist()
            contrast += edited.std(axis=(1, 2, 3)).tolist()
            if start % 40 == 0:
                rss.sample(start)
            if start >= 500:
                state_bytes.add(live.memories.num_bytes())
            if start % 400 == 0:
                assert is_finite(live)
        rest = live.finish()
    assert len(brightness) + len(rest) == NUM_FRAMES

    per_period = [slice(first, first + period) for first in range(0, len(brightness) - period, period)]
    means = [float(np.mean(brightness[cut])) for cut in per_period]
    deviations = [float(np.mean(contrast[cut])) for cut in per_period]
    growth = rss.growth(500, 1000, NUM_FRAMES)
    print(f"state bytes {state_bytes}; {1000 * (perf_counter() - begin) / NUM_FRAMES:.1f} ms a frame")
    print(f"brightness {np.round(means, 1).tolist()}; contrast {np.round(deviations, 1).tolist()}")
    assert growth <= 0.02
    assert len(state_bytes) == 1
    # every period shows the same pictures: the look may waver with the noise, but it goes nowhere
    assert abs(np.mean(means[1:11]) - np.mean(means[-10:])) < 3
    assert max(means[1:]) - min(means[1:]) < 12
    assert min(deviations[1:]) > 0.85 * deviations[0]
    assert max(deviations[1:]) < 1.15 * deviations[0]
