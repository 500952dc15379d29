"""What the memory bench says of a toy on the CPU, where a stand-in counts."""

from dataclasses import replace

import pytest
import torch

from tiny_ltx2 import SPEC as VAE_SPEC
from tiny_sana import DIT_SPEC
from vivace.bench.end_to_end import GIB, EndToEndSettings, RandomEditor
from vivace.bench.memory_parts import measure_memory

SETTINGS = EndToEndSettings(width_px=64, height_px=64, num_denoising_steps=2, num_warmup_chunks=2)


class CountingMeter:
    def __init__(self) -> None:
        self.num_restarts = 0

    def restart(self) -> None:
        self.num_restarts += 1

    def allocated(self) -> int:
        return 3 * GIB

    def peak(self) -> int:
        return (3 + self.num_restarts) * GIB

    def reserved(self) -> int:
        return (4 + self.num_restarts) * GIB

    def blocks(self) -> dict[int, int]:
        return {1: GIB, 2: GIB, 3: GIB // 2}


@pytest.mark.parametrize("vae_frames", [None, 1])
def test_every_work_is_counted_and_everything_held_is_named(vae_frames):
    editor = RandomEditor(torch.device("cpu"), torch.float32, DIT_SPEC, VAE_SPEC)
    pipeline, meter = editor.pipeline(vae_frames), CountingMeter()
    report = measure_memory(pipeline, replace(SETTINGS, vae_frames=vae_frames), meter)
    for works in (report.works, report.first_chunk):
        assert [work.work for work in works] == ["Encode", "Denoise", "Commit", "Decode"]
        assert all(work.before == 3 for work in works)
        assert all(work.reserved == work.peak + 1 for work in works)
    # once for what is held, then before each of the five works of two chunks
    assert meter.num_restarts == 1 + 2 * 5
    # of two calls of a kind the one that needed most
    assert [work.peak for work in report.works] == [3 + 2, 3 + 4, 3 + 5, 3 + 6]
    weights = sum(parameter.numel() * 4 for parameter in pipeline.vae.parameters()) / GIB
    assert report.held["vae"] == weights
    assert report.held["reserved beyond"] == 2
    named = sum(gib for name, gib in report.held.items() if name != "reserved beyond")
    assert named == pytest.approx(3)
    assert report.unnamed == ((1, 2), (0.5, 1))
    for name in ("transformer", "encoder state", "transformer state", "decoder state", "prompt"):
        assert report.held[name] > 0
