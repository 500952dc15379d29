import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.bodies import OpenSession
from vivace.server.protocol import (
    MAX_TEXT_BYTES,
    ClientMessage,
    Hello,
    ProtocolError,
    Rewind,
    SchedulePrompt,
    SetPrompt,
    parse_message,
)

GOOD = [
    {"type": "hello", "v": 1, "key": "abc", "frames": "none"},
    {"type": "set_prompt", "prompt": "make it snow"},
    {"type": "schedule_prompt", "prompt": "make it snow", "in_s": 2.5},
    {"type": "cancel_prompt", "prompt_id": 3},
    {"type": "set_controls", "steps": 4, "seed": 7, "strength": 0.5},
    {"type": "pause"},
    {"type": "resume"},
    {"type": "rewind", "seconds": 5},
    {"type": "start_recording"},
    {"type": "stop_recording"},
    {"type": "get_stats"},
    {"type": "ping", "nonce": 12},
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def refusal(text: str | bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse_message(text)
    return caught.value


def sentence_about(text: str | bytes) -> str | None:
    """What is wrong with a message; None if nothing is. Any other exception fails the test."""
    try:
        parse_message(text)
    except ProtocolError as error:
        return error.answer.sentence
    return None


@pytest.mark.parametrize("message", GOOD, ids=lambda one: one["type"])
def test_every_message_is_read_and_says_the_same_again(message):
    parsed = parse_message(json.dumps(message))
    said = parsed.model_dump()
    assert {name: said[name] for name in message} == message
    assert parse_message(parsed.model_dump_json()) == parsed


def test_the_list_above_names_every_kind_of_client_message():
    kinds = {one.model_fields["type"].annotation.__args__[0] for one in ClientMessage.__args__}
    assert kinds == {one["type"] for one in GOOD}


@pytest.mark.parametrize("strength", ["-0.1", "1.01", "NaN", "1e999", '"full"'])
def test_a_strength_is_between_nothing_and_all(strength):
    error = refusal(f'{{"type":"set_controls","strength":{strength}}}')
    assert error.answer.code == "bad_message"
    assert "strength" in error.answer.sentence or "NaN" in strength


def test_prompts_lose_the_space_around_them_and_may_not_be_empty():
    assert parse_message('{"type":"set_prompt","prompt":"  snow "}') == SetPrompt(
        type="set_prompt", prompt="snow"
    )
    assert "prompt" in str(refusal('{"type":"set_prompt","prompt":"   "}'))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"seconds": 0}, "seconds"),
        ({"seconds": "5"}, None),
        ({"seconds": 1e9}, "seconds"),
        ({"seconds": 5, "path": "x"}, "path"),
        ({}, "seconds"),
    ],
)
def test_a_field_that_does_not_fit_is_named(change, place):
    text = json.dumps({"type": "rewind", **change})
    if place is None:
        assert isinstance(parse_message(text), Rewind)
    else:
        error = refusal(text)
        assert error.answer.code == "bad_message"
        assert place in error.answer.sentence


def test_infinite_times_are_refused():
    assert refusal('{"type":"schedule_prompt","prompt":"a","in_s":Infinity}').answer.code == "bad_message"
    assert refusal('{"type":"rewind","seconds":NaN}').answer.code == "bad_message"
    assert isinstance(parse_message('{"type":"schedule_prompt","prompt":"a","in_s":0}'), SchedulePrompt)


def test_another_version_is_refused_with_both_numbers():
    error = refusal('{"type":"hello","v":2}')
    assert error.answer.code == "unknown_version"
    assert "2" in error.answer.sentence
    assert "1" in error.answer.sentence


def test_a_long_message_is_refused_unread():
    assert refusal("[" * (MAX_TEXT_BYTES + 1)).answer.code == "too_large"


@given(anything)
def test_any_json_gives_a_message_or_one_sentence(value):
    text = json.dumps(value)
    sentence = sentence_about(text)
    assert sentence is None or 0 < len(sentence) <= 300


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_give_a_message_or_one_sentence(data):
    sentence = sentence_about(data)
    assert sentence is None or "\n" not in sentence


@given(st.sampled_from(GOOD), st.data())
def test_a_message_with_one_field_spoiled_is_read_or_refused(message, data):
    name = data.draw(st.sampled_from(sorted(message)))
    try:
        parsed = parse_message(json.dumps({**message, name: data.draw(anything)}))
    except ProtocolError:
        return
    assert parsed.type in {one["type"] for one in GOOD}


def test_sessions_are_opened_with_what_the_model_can_do():
    with pytest.raises(ValueError, match="steps"):
        OpenSession(prompt="a", steps=9)
    with pytest.raises(ValueError, match="width_px"):
        OpenSession(prompt="a", width_px=100_000)
    assert Hello(type="hello", v=1).frames == "jpeg"
