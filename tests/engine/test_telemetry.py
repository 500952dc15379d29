import random

import pytest

from vivace.engine.telemetry import (
    RECENT_S,
    BusyLog,
    Counts,
    EngineTelemetry,
    Histogram,
    RateMeter,
    RecentTimes,
    SessionTelemetry,
)


def test_quantiles_are_within_five_per_cent():
    rng = random.Random(0)
    values = sorted(rng.lognormvariate(-3, 1) for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    for share in (0.01, 0.5, 0.99, 0.999):
        assert histogram.quantile(share) == pytest.approx(values[int(share * len(values))], rel=0.05)
    summary = histogram.summary()
    assert summary.max_ms == pytest.approx(1000 * values[-1])
    assert summary.mean_ms == pytest.approx(1000 * sum(values) / len(values))
    assert summary.p50_ms < summary.p99_ms < summary.p999_ms <= summary.max_ms


def test_a_histogram_of_nothing_and_of_negative_times_is_zero():
    histogram = Histogram()
    assert histogram.summary().p99_ms == 0
    histogram.record(-5.0)
    assert histogram.summary().p99_ms == 0
    assert histogram.num_values == 1


def test_histograms_add_up():
    low, high, both = Histogram(), Histogram(), Histogram()
    for index in range(1, 100):
        low.record(index / 1000)
        high.record(index)
        both.record(index / 1000)
        both.record(index)
    low.add(high)
    assert low.summary() == both.summary()


def test_busy_time_is_counted_where_it_overlaps():
    log = BusyLog()
    log.record(1.0, 2.0)
    log.record(3.0, 5.0)
    log.record(6.0, 5.5)
    assert log.total_s == 3.0
    assert log.within(1.5, 4.0) == pytest.approx(1.5)
    assert log.within(2.0, 3.0) == 0
    assert log.within(0.0, 9.0) == 3.0


def test_recent_times_forget_what_is_long_past():
    times = RecentTimes()
    times.record(0.0, 5.0)
    for index in range(10):
        times.record(RECENT_S + index, 0.1)
    assert times.summary(RECENT_S).max_ms == pytest.approx(5000)
    assert times.summary(RECENT_S + 9).max_ms == pytest.approx(100)
    assert times.summary(100.0).num_values == 0


def test_rates_are_events_a_second_of_late():
    meter = RateMeter()
    assert meter.rate(0.0) == 0
    for index in range(100):
        meter.record(index / 20)
    assert meter.rate(5.0) == pytest.approx(20, rel=0.05)
    assert meter.rate(60.0) == 0


def chunk(telemetry: SessionTelemetry, now_s: float, ready_s: float, deadline_s: float) -> None:
    telemetry.chunk_done(
        now_s=now_s, ready_s=ready_s, deadline_s=deadline_s, added_s=0.01, arrived_s=[ready_s - 0.1, ready_s]
    )


def test_a_session_times_its_chunks():
    telemetry = SessionTelemetry()
    telemetry.frame_came(1.0)
    telemetry.frame_came(1.1)
    chunk(telemetry, 1.4, 1.1, 1.5)
    chunk(telemetry, 2.0, 1.5, 1.9)
    times, counts = telemetry.times, telemetry.counts
    assert (counts.frames_in, counts.frames_out, counts.chunks, counts.deadline_misses) == (2, 4, 2, 1)
    assert times.ttff.total_s == pytest.approx(0.4)
    assert times.ttff.num_values == 1
    assert times.delay.total_s == pytest.approx(0.3 + 0.4 + 0.5 + 0.6)
    assert times.buffering.total_s == pytest.approx(0.2)
    assert times.slack.total_s == pytest.approx(0.1)
    assert times.lateness.total_s == pytest.approx(0.1)
    assert times.jitter.total_s == pytest.approx(0.2)


def test_the_engine_sums_over_ended_sessions():
    engine = EngineTelemetry(started_s=0.0)
    for has_failed in (False, True):
        telemetry = SessionTelemetry()
        telemetry.frame_came(0.0)
        chunk(telemetry, 0.4, 0.1, 0.5)
        engine.session_ended(telemetry, has_failed=has_failed)
    total = engine.figures([], busy_s=2.0, now_s=8.0)
    assert total.figures.counts.frames_out == 4
    assert total.figures.delay.num_values == 4
    assert (total.sessions_failed, total.busy_share, total.num_sessions) == (1, 0.25, 0)


def test_counts_can_be_kept():
    counts = Counts(frames_in=1)
    kept = counts.copy()
    counts.frames_in = 5
    assert kept.frames_in == 1
