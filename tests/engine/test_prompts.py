import pytest

from vivace.core.errors import InputError
from vivace.engine.prompts import MAX_UPCOMING, PromptTimeline


def test_the_latest_due_change_wins_and_earlier_ones_are_void():
    timeline = PromptTimeline()
    late = timeline.add("late", 2.0, 0.0, is_exact=True)
    early = timeline.add("early", 1.0, 0.0, is_exact=True)
    future = timeline.add("future", 9.0, 0.0, is_exact=True)
    for change in (late, early, future):
        change.prepared = object()
    assert [one.words for one in timeline.upcoming] == ["early", "late", "future"]
    assert timeline.take_due(0.5) == (None, [])
    winner, void = timeline.take_due(2.5)
    assert winner is late
    assert void == [early]
    assert [one.words for one in timeline.upcoming] == ["future"]


def test_an_exact_change_holds_its_chunk_back_until_it_is_encoded():
    timeline = PromptTimeline()
    timeline.add("now", 0.0, 0.0, is_exact=False)
    assert not timeline.holds_back(5.0)
    exact = timeline.add("exact", 3.0, 0.0, is_exact=True)
    assert not timeline.holds_back(2.9)
    assert timeline.holds_back(3.0)
    exact.prepared = object()
    assert not timeline.holds_back(3.0)


def test_a_change_that_was_overtaken_while_it_was_encoded_is_void():
    timeline = PromptTimeline()
    slow = timeline.add("slow", 1.0, 0.0, is_exact=False)
    quick = timeline.add("quick", 1.0, 0.0, is_exact=False)
    quick.prepared = object()
    assert timeline.take_due(1.0) == (quick, [slow])
    assert timeline.upcoming == ()


def test_changes_can_be_cancelled_once():
    timeline = PromptTimeline()
    change = timeline.add("words", 1.0, 0.0, is_exact=True)
    assert timeline.cancel(change.prompt_id) is change
    assert timeline.cancel(change.prompt_id) is None


def test_a_timeline_has_an_end():
    timeline = PromptTimeline()
    for index in range(MAX_UPCOMING):
        timeline.add("words", index, 0.0, is_exact=True)
    with pytest.raises(InputError, match="cancel some"):
        timeline.add("one more", 0.0, 0.0, is_exact=True)
