"""Every stage is timed as often as it runs, and the whole is at least its parts."""

import dataclasses

import pytest

from vivace.bench.edit_speed import SpeedSettings, measure_speed
from vivace.core.errors import ConfigError, InputError

SETTINGS = SpeedSettings(
    width_px=32, height_px=32, num_denoising_steps=3, commit="clean_pass", num_chunks=4, num_warmup_chunks=2
)


def test_every_stage_is_counted_after_the_warm_up(toy_editor):
    report = measure_speed(toy_editor, SETTINGS)
    runs = {stage.name: stage.num_runs for stage in report.stages}
    assert runs == {"encode": 4, "denoising step": 12, "commit": 4, "decode": 4, "end to end": 4}
    assert report.raw_frames_per_chunk == 4
    assert report.precision == "fp32"
    parts = {stage.name: stage for stage in report.stages}
    whole = parts.pop("end to end")
    assert all(0 < stage.median_ms <= stage.p99_ms for stage in report.stages)
    assert whole.median_ms > max(stage.median_ms for stage in parts.values())
    assert report.frames_per_second == pytest.approx(4000 / whole.median_ms)


def test_a_commit_with_the_last_step_saves_a_call(toy_editor):
    report = measure_speed(toy_editor, dataclasses.replace(SETTINGS, commit="last_step"))
    runs = {stage.name: stage.num_runs for stage in report.stages}
    expected = {
        "encode": 4,
        "denoising step": 8,
        "denoising step that commits": 4,
        "decode": 4,
        "end to end": 4,
    }
    assert runs == expected


def test_settings_out_of_range_are_refused(toy_editor):
    with pytest.raises(InputError, match="at least 1"):
        dataclasses.replace(SETTINGS, num_chunks=0)
    with pytest.raises(InputError, match="1 to 8"):
        measure_speed(toy_editor, dataclasses.replace(SETTINGS, num_denoising_steps=9))
    with pytest.raises(ConfigError, match="divisible"):
        measure_speed(toy_editor, dataclasses.replace(SETTINGS, width_px=40))
