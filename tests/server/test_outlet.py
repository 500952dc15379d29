"""What the delay of a shown frame consists of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.server.outlet import ShownFrame


def frame(span_s: float, model_s: float, engine_s: float) -> ShownFrame:
    """Arrived at second 10."""
    return ShownFrame(np.zeros((2, 2, 3), np.uint8), 0, 1, "snow", 0.0, 10.0, span_s, model_s, engine_s)


def test_spacing_a_chunk_again_is_buffering_and_more_is_held_back():
    # frames came within 0.3 s, the model took 0.2
    even = frame(0.3, 0.2, 0.01).delays(10.51)
    assert (even.buffering_s, even.held_s) == pytest.approx((0.3, 0.0))
    held = frame(0.3, 0.2, 0.01).delays(10.54)
    assert (held.buffering_s, held.held_s) == pytest.approx((0.3, 0.03))
    # the last frame of a late chunk, shown soon after it was edited
    catching_up = frame(0.3, 0.2, 0.01).delays(10.31)
    assert (catching_up.buffering_s, catching_up.held_s) == pytest.approx((0.1, 0.0))


@given(*[st.floats(0, 5)] * 4)
def test_the_parts_add_up_and_none_is_negative(span_s, model_s, engine_s, waited_s):
    now_s = 10.0 + model_s + engine_s + waited_s
    parts = frame(span_s, model_s, engine_s).delays(now_s)
    each = (parts.buffering_s, parts.model_s, parts.engine_s, parts.held_s)
    assert min(each) >= 0
    assert sum(each) == pytest.approx(parts.total_s)
    assert parts.buffering_s <= span_s
