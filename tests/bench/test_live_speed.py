"""Every session is counted, and what the engine adds is told apart from what the model takes."""

import json
from dataclasses import replace

import pytest

from vivace.bench.live_speed import LiveSpeedSettings, measure_live
from vivace.core.errors import InputError

SETTINGS = LiveSpeedSettings(
    num_sessions=2, duration_s=0.5, fps=30, width_px=32, height_px=32, num_denoising_steps=1, stagger_s=0.05
)


def test_sessions_are_sent_taken_and_timed(toy_editor):
    speed = measure_live(toy_editor, SETTINGS)
    assert speed.counts.frames_in == 30
    assert speed.counts.frames_out + speed.counts.frames_dropped_in == speed.delay.num_values + (
        speed.counts.frames_dropped_in
    )
    assert speed.counts.frames_out == speed.handover.num_values > 0
    assert speed.ttff.num_values == 2
    assert speed.fps_out == pytest.approx(speed.counts.frames_out)
    assert 0 < speed.busy_share <= 1
    assert speed.added.num_values == speed.counts.chunks
    assert 0 < speed.added.mean_ms < speed.delay.max_ms
    assert speed.miss_share == speed.counts.deadline_misses / speed.counts.chunks
    assert json.loads(json.dumps(speed.to_json()))["counts"]["frames_in"] == 30
    assert "| added by the engine |" in speed.table()


def test_a_machine_that_is_too_slow_takes_fewer_steps_where_it_may(toy_editor):
    # a chunk of four frames in 17 ms is more than this model can do at that size
    fast = replace(SETTINGS, num_sessions=1, fps=240, width_px=256, height_px=192, num_denoising_steps=4)
    assert measure_live(toy_editor, fast).counts.steps_a_chunk == 4
    paced = measure_live(toy_editor, replace(fast, least_denoising_steps=1))
    assert 1 <= paced.counts.steps_a_chunk < 2.5
    assert f"{paced.counts.steps_a_chunk:.1f} steps a chunk" in paced.table()


def test_settings_out_of_range_are_refused(toy_editor):
    with pytest.raises(InputError, match="at least 1"):
        replace(SETTINGS, num_sessions=0)
    with pytest.raises(InputError, match="1 to 8"):
        measure_live(toy_editor, replace(SETTINGS, num_denoising_steps=9))
