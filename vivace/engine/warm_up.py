"""Edits a few empty chunks before anybody watches, so that the first session finds everything in place."""

import numpy as np

from vivace.catalog.model_folder import EditorDefaults
from vivace.engine.engine import Engine, EngineSettings
from vivace.engine.terms import SessionSettings
from vivace.pipelines.edit import EditPipeline

# On a GPU: until sink and window are full and every shape of memory has been recorded as a graph.
NUM_CHUNKS_GPU = 8
# On a CPU: until allocators and kernels have seen a first and a further chunk.
NUM_CHUNKS_CPU = 2


def warm_up(pipeline: EditPipeline, defaults: EditorDefaults, size: tuple[int, int] | None = None) -> None:
    """Edit some chunks of `size` (width, height; None is the native one) and forget them.

    Blocks while the model works; no other engine may use the pipeline meanwhile.

    Raises:
        InputError: If the model cannot edit that size.
    """
    width, height = size or (defaults.native_width_px, defaults.native_height_px)
    picture = np.zeros((height, width, 3), np.uint8)
    settings = SessionSettings(prompt="warm up", size=(width, height), rewind_s=0)
    num_chunks = NUM_CHUNKS_CPU if pipeline.device.type == "cpu" else NUM_CHUNKS_GPU
    grid, plan = pipeline.vae.grid, defaults.plan
    num_frames = 0
    with Engine(pipeline, defaults, EngineSettings(max_sessions=1), has_threads=False) as engine:
        session = engine.open_sync(settings)
        for index in range(num_chunks):
            chunk = plan.chunk(index)
            for _ in range(grid.num_raw_frames(chunk.num_frames, chunk.start)):
                session.push(picture, num_frames / settings.native_fps)
                num_frames += 1
            while engine.prepare_once() or engine.work_once():
                pass
            session.take_frames()
