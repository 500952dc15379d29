"""A sweep ends with the first number of sessions that is too many, or with its time."""

import pytest

from vivace.bench import live_sweep
from vivace.bench.live_speed import LiveSpeed, LiveSpeedSettings
from vivace.bench.live_sweep import is_saturated, sweep_live, sweep_table
from vivace.core.errors import InputError
from vivace.engine.telemetry import Counts, summary_of

SETTINGS = LiveSpeedSettings(duration_s=10, width_px=32, height_px=32)
TIMES = summary_of([0.01, 0.02])


def speed(settings: LiveSpeedSettings, misses: int, dropped: int = 0) -> LiveSpeed:
    counts = Counts(
        frames_in=4000, chunks=1000, deadline_misses=misses, frames_dropped_in=dropped, denoising_steps=2500
    )
    names = ("ttff", "delay", "buffering", "queueing", "turnaround", "jitter", "added", "handover")
    times = dict.fromkeys((*names, "prompt_change"), TIMES)
    return LiveSpeed(
        settings=settings, fps_out=16, counts=counts, miss_share=misses / 1000, busy_share=0.5, **times
    )


@pytest.fixture
def machine(monkeypatch):
    """An engine that bears eight sessions, under a clock that only measurements move."""
    now = [0.0]

    def measure(editor, settings):
        now[0] += settings.duration_s
        return speed(settings, misses=1 if settings.num_sessions <= 8 else 2)

    monkeypatch.setattr(live_sweep, "measure_live", measure)
    monkeypatch.setattr(live_sweep, "perf_counter", lambda: now[0])


def numbers(*wanted: int, limit_s: float = 100.0) -> list[int]:
    return [one.settings.num_sessions for one in sweep_live(None, SETTINGS, wanted, limit_s=limit_s)]


def test_it_ends_with_the_first_number_that_is_too_many(machine):
    assert numbers(16, 1, 4, 8, 64, 32) == [1, 4, 8, 16]


def test_it_ends_with_its_time(machine):
    assert numbers(1, 2, 4, 8, limit_s=35) == [1, 2, 4]
    with pytest.raises(InputError, match="at most 9 s"):
        numbers(1, limit_s=9)


def test_dropped_frames_count_as_well():
    assert not is_saturated(speed(SETTINGS, misses=1, dropped=4))
    assert is_saturated(speed(SETTINGS, misses=0, dropped=5))


def test_the_table_says_where_it_ends(machine):
    text = sweep_table(list(sweep_live(None, SETTINGS, (4, 8, 16))))
    assert "8 at a time meet 99.9 % of their deadlines; 16 do not" in text
    assert "| 2.5 | 50 % |" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 1 + 3
    assert "more were not tried" in sweep_table([speed(SETTINGS, 0)])
    assert "not even one is in time" in sweep_table([speed(SETTINGS, 900)])
