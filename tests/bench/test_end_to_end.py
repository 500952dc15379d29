"""The end-to-end bench at toy size: what can be measured without a GPU, and how rows are chosen."""

from dataclasses import replace

import pytest
import torch

from clock_lanes import ClockLanes
from tiny_ltx2 import SPEC as VAE_SPEC
from tiny_sana import DIT_SPEC
from vivace.bench.end_to_end import EndToEndSettings, RandomEditor, measure_end_to_end, rows_to_measure
from vivace.core.errors import InputError
from vivace.pipelines.edit import EditPipeline

CPU = torch.device("cpu")
SETTINGS = EndToEndSettings(
    width_px=64, height_px=64, num_denoising_steps=2, num_chunks=3, num_warmup_chunks=1
)


@pytest.fixture(scope="module")
def editor() -> RandomEditor:
    return RandomEditor(CPU, torch.float32, DIT_SPEC, VAE_SPEC)


class CountingPipeline(EditPipeline):
    """Counts works by the number of streams that share a call."""

    @classmethod
    def of(cls, plain: EditPipeline) -> "CountingPipeline":
        made = cls(plain.vae, plain.dit, plain.prompts, device=plain.device, dtype=plain.dtype)
        made.shared = []
        return made

    def launch(self, works):
        self.shared.append((type(works[0][1]).__name__, len(works)))
        return super().launch(works)


@pytest.mark.parametrize("num_streams", [1, 2])
def test_the_serial_loop_is_measured_on_any_device(editor, num_streams):
    pipeline = CountingPipeline.of(editor.pipeline())
    speed = measure_end_to_end(pipeline, replace(SETTINGS, num_streams=num_streams, num_chunks=4))
    assert {number for _, number in pipeline.shared} == {num_streams}
    # the first chunk, one to warm up, the counted ones and one before them, three alone, six starts
    chunks = 1 + 1 + 4 // num_streams + 1 + 3 + 6
    assert pipeline.shared.count(("Encode", num_streams)) == chunks
    assert pipeline.shared.count(("Commit", num_streams)) == chunks
    assert pipeline.shared.count(("Denoise", num_streams)) == 2 * chunks
    assert 0 < speed.chunk_median_ms <= speed.chunk_p99_ms
    assert 0 < speed.latency_median_ms <= speed.latency_p99_ms
    assert speed.first_frame_ms > 0
    assert speed.frames_per_second > 0
    assert speed.precision == "fp32"
    assert speed.peak_gib is None
    if speed.steady_delay_s is not None:
        assert speed.steady_delay_s == pytest.approx(23 / 24 + speed.latency_median_ms / 1000)


def test_a_model_that_falls_behind_has_no_steady_delay(editor, monkeypatch):
    monkeypatch.setattr("vivace.bench.end_to_end.LIVE_FPS", 1e6)
    assert measure_end_to_end(editor.pipeline(), SETTINGS).steady_delay_s is None


def test_overlapping_loops_are_measured_on_lanes(editor):
    pipeline = CountingPipeline.of(editor.pipeline())
    settings = replace(SETTINGS, loop="overlapped", num_streams=2, num_chunks=4, commit="last_step")
    speed = measure_end_to_end(pipeline, settings, ClockLanes())
    assert {number for _, number in pipeline.shared} == {1}
    assert pipeline.shared.count(("Commit", 1)) == 0
    # two more to fill the lanes
    assert pipeline.shared.count(("Decode", 1)) == 2 * (1 + 1 + 2 + 1 + 2 + 3 + 6)
    assert speed.frames_per_second > 0


def test_what_needs_a_gpu_says_so(editor):
    with pytest.raises(InputError, match="overlap on a GPU only"):
        measure_end_to_end(editor.pipeline(), replace(SETTINGS, loop="overlapped"))


@pytest.mark.parametrize(
    ("change", "message"), [({"num_streams": 0}, "at least 1"), ({"width_px": 100}, "multiples of 32")]
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **change)


def test_rows_are_all_combinations_and_then_the_extra_sizes():
    rows = rows_to_measure(SETTINGS, (4, 2), ((32, 32, 4),))
    found = [(row.num_denoising_steps, row.commit, row.loop, row.num_streams) for row in rows]
    assert found[:4] == [
        (4, "clean_pass", "serial", 1),
        (4, "clean_pass", "overlapped", 1),
        (4, "last_step", "serial", 1),
        (4, "last_step", "overlapped", 1),
    ]
    assert len(found) == len(set(found)) == 10
    assert found[-1] == (4, "clean_pass", "overlapped", 4)
    assert rows[-1].width_px == 32


def test_rounded_products_change_the_named_precision():
    editor = RandomEditor(CPU, torch.float32, DIT_SPEC, VAE_SPEC)
    editor.to_fp8()
    assert editor.pipeline().precision == "fp8"


@pytest.mark.gpu
def test_a_small_model_is_measured_in_every_row():
    editor = RandomEditor(torch.device("cuda"), torch.bfloat16, DIT_SPEC, VAE_SPEC)
    for settings in rows_to_measure(SETTINGS, (2,), ((96, 64, 2),), ("last_step",)):
        speed = measure_end_to_end(editor.pipeline(), settings)
        assert speed.frames_per_second > 0
        assert speed.peak_gib is not None
