"""Edit a clip live, without any web part: frames go in at their own time, edited ones come out, words change.

    python examples/live_session.py CLIP.mp4 EDITED.mp4

Half-way the instruction changes; it counts from the next chunk, and the receipt says which frame it reached.
"""

import asyncio
import sys
from fractions import Fraction

import numpy as np

from vivace.catalog.editor import open_editor
from vivace.catalog.load import live_threads
from vivace.data.frame_timing import TimedFrame
from vivace.data.video_sink import open_sink
from vivace.data.video_source import open_source
from vivace.engine.engine import Engine
from vivace.engine.live import LiveSession

FIRST, SECOND = "make it a snowy night", "turn it into a pencil sketch"
FPS = Fraction(16)


async def send(session: LiveSession, clip: str) -> None:
    """Hand the clip's frames in when a camera would have."""
    loop = asyncio.get_running_loop()
    with open_source(clip) as source:
        half_s = (source.info.duration_s or 0) / 2
        began_s, change = loop.time(), None
        for frame in source:
            at_s = float(frame.time_s)
            await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))
            await session.push(frame.pixels, at_s)
            if change is None and at_s >= half_s:
                change = asyncio.create_task(session.set_prompt(SECOND))
    session.finish()
    if change is not None:
        print(f"{SECOND!r} reached frame {(await change).frame_index}")


async def edit(engine: Engine, clip: str, edited: str) -> None:
    """One session from the first frame to the last."""
    async with engine.open(prompt=FIRST) as session:
        sending = asyncio.create_task(send(session, clip))
        sink = None
        async for frame in session.frames():
            pixels = np.asarray(frame.pixels)
            if sink is None:
                height, width, _ = pixels.shape
                sink = open_sink(edited, width_px=width, height_px=height, fps=FPS)
            sink.write(TimedFrame(pixels=pixels, time_s=frame.frame_index / FPS, duration_s=1 / FPS))
        if sink is not None:
            sink.close()
        await sending
        figures = session.sync.figures().figures
        print(f"{figures.counts.frames_out} frames, delay {figures.delay.p50_ms:.0f} ms (median)")


def main(clip: str, edited: str) -> None:
    """Load the bundled model and edit."""
    editor = open_editor("tiny-edit", num_threads=live_threads(None))
    with Engine(editor.pipeline, editor.defaults) as engine:
        asyncio.run(edit(engine, clip, edited))


if __name__ == "__main__":
    main(*sys.argv[1:])
