"""Thousands of 720p frames written and read back in constant memory."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from resident_memory import ResidentMemory
from vivace.data.frame_timing import TimedFrame
from vivace.data.video_sink import open_sink
from vivace.data.video_source import open_source

NUM_FRAMES = 3000
WIDTH, HEIGHT = 1280, 720
FPS = Fraction(25)


def film() -> Iterator[TimedFrame]:
    """A moving texture with a square that runs across it."""
    texture = np.random.default_rng(0).integers(0, 24, (HEIGHT + 64, WIDTH + 64, 3), dtype=np.uint8)
    slope = np.tile(np.linspace(0, 200, WIDTH).astype(np.uint8)[None, :, None], (HEIGHT, 1, 3))
    for index in range(NUM_FRAMES):
        down, right, left = index % 64, 3 * index % 64, 5 * index % (WIDTH - 100)
        pixels = slope + texture[down : down + HEIGHT, right : right + WIDTH]
        pixels[100:200, left : left + 100] = (255, 30, 0)
        yield TimedFrame(pixels=pixels, time_s=index / FPS, duration_s=1 / FPS)


@pytest.mark.slow
def test_writing_and_reading_720p_takes_constant_memory(tmp_path):
    path = tmp_path / "long.mp4"
    writing, reading = ResidentMemory(), ResidentMemory()
    with open_sink(path, width_px=WIDTH, height_px=HEIGHT, fps=FPS) as sink:
        for index, frame in enumerate(film()):
            sink.write(frame)
            if index % 20 == 0:
                writing.sample(index)
    num_read = 0
    with open_source(path) as source:
        for index, frame in enumerate(source):
            num_read += frame.pixels.shape == (HEIGHT, WIDTH, 3)
            if index % 20 == 0:
                reading.sample(index)
    assert num_read == NUM_FRAMES
    assert writing.growth(500, 1000, NUM_FRAMES) <= 0.02
    assert reading.growth(500, 1000, NUM_FRAMES) <= 0.02
