"""Streams that are opened, used, abandoned in the middle and closed leave nothing behind."""

import gc
import weakref

import numpy as np
import psutil
import pytest

from resident_memory import ResidentMemory
from test_edit_stream import CLIP
from vivace.catalog.editor import open_editor
from vivace.data.video_source import open_source

NUM_CYCLES = 300
SIZE = (96, 64)


@pytest.mark.slow
def test_three_hundred_streams_leave_no_memory_behind():
    editor = open_editor("tiny-edit", device="cpu")
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 96, 3), dtype=np.uint8)
    rss = ResidentMemory()
    for cycle in range(NUM_CYCLES):
        live = editor.open(f"make it foggy number {cycle}", size=SIZE, seed=cycle)
        live.push(frames[:5])
        snapshot = live.snapshot()
        live.set_prompt("turn it into a pencil sketch")
        live.push(frames[5:])
        if cycle % 3 == 0:
            assert snapshot is not None
            live.restore(snapshot)
            live.push(frames[:4])
        if cycle % 2:
            live.finish()
        live.close()
        gone = weakref.ref(live)
        del live, snapshot
        assert gone() is None, "a closed stream is kept alive"
        rss.sample(cycle)
    assert rss.growth(50, 150, NUM_CYCLES) <= 0.02


@pytest.mark.slow
def test_three_hundred_opened_videos_leave_no_file_thread_or_picture_behind():
    process = psutil.Process()
    rss = ResidentMemory()
    opened, threads = [], []
    for cycle in range(NUM_CYCLES):
        with open_source(CLIP, has_audio=True) as source:
            for _, frame in zip(range(5), source):
                assert frame.pixels.size
        gc.collect()
        rss.sample(cycle)
        opened.append(process.num_fds())
        threads.append(process.num_threads())
    assert opened[-1] == opened[5]
    assert threads[-1] == threads[5]
    assert rss.growth(50, 150, NUM_CYCLES) <= 0.02
