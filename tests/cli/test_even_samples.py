"""Samples of a stream of unknown length are few, evenly spaced and begin with the first."""

from itertools import pairwise

import pytest

from vivace.cli.even_samples import EvenSamples


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 13, 100, 1001])
def test_samples_are_few_and_evenly_spaced(length):
    samples: EvenSamples[int] = EvenSamples(6)
    for item in range(length):
        samples.add(item if samples.wants_next() else None)
    taken = samples.take()
    assert len(taken) == min(length, 6)
    assert taken[:1] == list(range(length))[:1]
    steps = [later - earlier for earlier, later in pairwise(taken)]
    assert all(step > 0 for step in steps)
    if length > 12:
        assert max(steps) <= 2 * min(steps)
        assert taken[-1] >= 0.75 * length


def test_memory_does_not_grow_with_the_stream():
    samples: EvenSamples[int] = EvenSamples(6)
    wanted = 0
    for item in range(100_000):
        wanted += samples.wants_next()
        samples.add(item if samples.wants_next() else None)
    # each doubling of the spacing asks for another seven at most
    assert wanted < 150
