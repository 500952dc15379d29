import subprocess
import sys
from dataclasses import replace
from unittest.mock import ANY

import pytest

from vivace.core.errors import InputError
from vivace.core.grid import ChunkPlan, LatentGrid
from vivace.engine.scheduler import SlotId
from vivace.engine.session import MAX_IDLE_TURN_S, Session
from vivace.engine.terms import EditedFrame, Phase, SessionEnd, SessionEndedError, SessionSettings

GRID = LatentGrid(temporal_stride=4, spatial_stride=16)
PLAN = ChunkPlan.live(1)
SETTINGS = SessionSettings(prompt="make it night", native_fps=10)
GONE = SessionEnd("closed", "gone")


def opened(settings: SessionSettings = SETTINGS) -> Session:
    session = Session(SlotId(7), settings, GRID, PLAN, now_s=0.0)
    for change in list(session.timeline.unprepared()):
        session.prompt_prepared(change, f"encoded {change.words}")
    return session


def feed(session: Session, indices: range) -> None:
    for index in indices:
        session.push(index, index / 10, now_s=index / 10)


def deliver(session: Session, now_s: float) -> list[object]:
    source = session.take_chunk(now_s)
    assert source is not None
    pictures = [frame.pixels for frame in source.frames]
    session.deliver(source, pictures, now_s, added_s=0.0)
    return pictures


def test_the_session_needs_no_torch():
    code = "import sys, vivace.engine.session, vivace.engine.scheduler; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_life_of_a_session():
    session = Session(SlotId(1), SETTINGS, GRID, PLAN, now_s=0.0)
    assert session.phase is Phase.OPENING
    feed(session, range(1))
    assert session.take_chunk(0.0) is None
    (change,) = session.timeline.unprepared()
    session.prompt_prepared(change, "encoded")
    assert session.opened.result(0) is None
    assert session.phase is Phase.LIVE
    assert deliver(session, 0.0) == [0]
    feed(session, range(1, 7))
    assert deliver(session, 0.5) == [1, 2, 3, 4]
    assert session.take_chunk(0.6) is None
    session.finish(0.6)
    assert session.phase is Phase.DRAINING
    assert not session.is_drained
    last = session.take_chunk(0.6)
    assert last is not None
    assert last.is_last
    assert [frame.pixels for frame in last.frames] == [5, 6]
    assert session.is_drained
    with pytest.raises(SessionEndedError, match="finished"):
        session.push(0, 9.0, 9.0)
    session.close(GONE, 1.0)
    with pytest.raises(SessionEndedError, match="gone"):
        session.set_prompt("words", 1.0)


def test_a_model_that_is_slower_gets_the_latest_frames_and_never_a_queue():
    session = opened()
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 100))
    assert len(session.waiting_frames) == 8
    assert session.telemetry.counts.frames_dropped_in == 91
    assert deliver(session, 9.9) == [96, 97, 98, 99]
    assert session.telemetry.counts.frames_dropped_in == 95
    # one late turn alone loses nothing
    feed(session, range(100, 108))
    assert deliver(session, 10.8) == [100, 101, 102, 103]
    assert deliver(session, 10.8) == [104, 105, 106, 107]


def test_the_queue_holds_at_least_a_chunk():
    session = opened(replace(SETTINGS, max_waiting_frames=1))
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 20))
    assert deliver(session, 2.0) == [16, 17, 18, 19]


def test_a_chunk_is_due_when_the_frames_of_the_next_one_have_come():
    session = opened()
    feed(session, range(1))
    # the first chunk has one frame, the second one four
    assert session.next_deadline_s == pytest.approx(0.0 + 0.4)
    taken = session.take_chunk(0.0)
    assert taken is not None
    assert taken.deadline_s == pytest.approx(0.4)


def test_a_deadline_does_not_move_while_frames_are_dropped():
    session = opened()
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 5))
    assert session.chunk_ready_s == pytest.approx(0.4)
    assert session.next_deadline_s == pytest.approx(0.8)
    feed(session, range(5, 50))
    assert session.next_deadline_s == pytest.approx(0.8)


def test_a_chunk_left_over_was_ready_when_its_last_frame_came():
    session = opened()
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 9))
    deliver(session, 3.0)
    assert session.chunk_ready_s == pytest.approx(0.8)


def test_a_slow_consumer_loses_the_oldest_frames():
    session = opened(replace(SETTINGS, max_ready_frames=3))
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 5))
    deliver(session, 0.6)
    frames = session.take_ready()
    assert [frame.frame_index for frame in frames] == [2, 3, 4]
    assert session.telemetry.counts.frames_dropped_out == 2
    assert frames[-1] == EditedFrame(
        4, 0.4, 4, 1, 0, "make it night", 0, pytest.approx(0.2), 0.6, pytest.approx(0.3), ANY, ANY
    )


def test_a_prompt_takes_effect_at_the_next_chunk_and_the_receipt_says_where():
    session = opened()
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 7))
    change = session.set_prompt("snow", 0.6)
    deliver(session, 0.6)
    assert session.prompt_words == "make it night"
    session.prompt_prepared(change, "encoded snow")
    feed(session, range(7, 9))
    source = session.take_chunk(0.9)
    assert source is not None
    assert (source.prompt, source.prompt_words) == ("encoded snow", "snow")
    receipt = change.receipt.result(0)
    assert (receipt.words, receipt.frame_index, receipt.chunk_index) == ("snow", 5, 2)
    assert receipt.waited_s == pytest.approx(0.3)
    assert receipt.was_applied


def test_a_scheduled_prompt_waits_for_its_time_and_its_chunk_waits_for_it():
    session = opened()
    change = session.schedule_prompt(0.4, "snow", 0.0)
    feed(session, range(1))
    deliver(session, 0.0)
    feed(session, range(1, 9))
    assert deliver(session, 0.8) == [1, 2, 3, 4]
    assert session.take_chunk(0.8) is None
    session.prompt_prepared(change, "encoded snow")
    source = session.take_chunk(0.9)
    assert source is not None
    assert source.prompt_words == "snow"
    assert change.receipt.result(0).frame_index == 5


def test_prompts_that_cannot_be_encoded_change_nothing_but_the_first_one_is_needed():
    session = opened()
    change = session.set_prompt("", 0.0)
    assert not session.prompt_refused(change, InputError("empty"))
    with pytest.raises(InputError, match="empty"):
        change.receipt.result(0)
    assert [one.words for one in session.timeline.upcoming] == ["make it night"]
    new = Session(SlotId(1), SETTINGS, GRID, PLAN, now_s=0.0)
    (first,) = new.timeline.unprepared()
    assert new.prompt_refused(first, InputError("too long"))
    with pytest.raises(InputError, match="too long"):
        new.opened.result(0)


def test_a_prompt_can_be_taken_back_but_not_the_first():
    session = Session(SlotId(1), SETTINGS, GRID, PLAN, now_s=0.0)
    change = session.schedule_prompt(5.0, "snow", 0.0)
    assert not session.cancel_prompt(session.timeline.upcoming[0].prompt_id, 0.0)
    assert session.cancel_prompt(change.prompt_id, 1.0)
    assert not change.receipt.result(0).was_applied
    assert not session.cancel_prompt(change.prompt_id, 1.0)


def test_closing_tells_everybody_who_waits_and_keeps_what_is_ready():
    session = opened()
    feed(session, range(1))
    deliver(session, 0.0)
    change = session.schedule_prompt(50.0, "snow", 0.0)
    session.close(GONE, 0.0)
    session.close(SessionEnd("failed", "later"), 0.0)
    assert session.end == GONE
    with pytest.raises(SessionEndedError, match="gone"):
        change.receipt.result(0)
    assert [frame.pixels for frame in session.take_ready()] == [0]
    assert session.take_chunk(1.0) is None


def test_a_pause_ignores_frames_and_leaves_no_gap():
    session = opened()
    feed(session, range(3))
    session.pause()
    feed(session, range(3, 8))
    session.resume()
    feed(session, range(8, 10))
    assert session.telemetry.counts.frames_ignored == 5
    assert [frame.pixels for frame in session.waiting_frames] == [0, 1, 2, 8, 9]
    assert session.stream_s == pytest.approx(0.5)


def test_idleness_counts_time_that_passed_and_no_jumps_of_the_clock():
    session = opened(replace(SETTINGS, idle_timeout_s=3.0))
    assert not session.tick(3600.0)
    assert not session.tick(-3600.0)
    assert not session.tick(0.0)
    times = [index * MAX_IDLE_TURN_S for index in range(1, 4)]
    assert [session.tick(now_s) for now_s in times] == [False, True, True]
    session.push(0, 0.0, 4.0)
    assert not session.tick(4.0)
    assert not any(opened(replace(SETTINGS, idle_timeout_s=None)).tick(float(now_s)) for now_s in range(99))


def test_taking_frames_is_no_sign_of_life():
    session = opened(replace(SETTINGS, idle_timeout_s=1.5))
    session.tick(1.0)
    session.take_ready()
    assert session.tick(2.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"native_fps": 0},
        {"native_fps": float("nan")},
        {"max_ready_frames": 0},
        {"max_waiting_frames": 0},
        {"rewind_s": -1},
        {"rewind_s": float("nan")},
        {"idle_timeout_s": 0},
        {"size": (0, 10)},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match="expected"):
        replace(SETTINGS, **wrong)
