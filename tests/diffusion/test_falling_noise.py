import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import partitions
from vivace.core.errors import ConfigError
from vivace.core.falling_noise import FAR_SNOW, NEAR_SNOW, RAIN, WEATHER, FallingNoise
from vivace.diffusion.noise import falling_noise, stream_noise


@given(partitions(9, 5), st.integers(0, 2**31), st.integers(0, 5000))
@settings(max_examples=20, deadline=None)
def test_falling_noise_does_not_depend_on_how_frames_are_grouped(sizes, seed, start):
    whole = falling_noise(seed, start, 9, (5, 7), WEATHER)
    parts, first = [], start
    for size in sizes:
        parts.append(falling_noise(seed, first, size, (5, 7), WEATHER))
        first += size
    assert torch.equal(torch.cat(parts, dim=1), whole)


@pytest.mark.parametrize("group", [FAR_SNOW, NEAR_SNOW, RAIN])
def test_values_move_down_and_right_from_frame_to_frame(group):
    noise = group.frames(3, 40, 6, (12, 20))
    rows, columns = group.rows_per_frame, group.columns_per_frame
    for earlier, later in zip(noise.unbind(1), noise.unbind(1)[1:]):
        moved = earlier[:, : 12 - rows, : 20 - columns]
        assert torch.equal(later[:, rows:, columns:], moved)


def test_every_frame_is_white_and_groups_and_seeds_are_independent():
    noise = falling_noise(1, 0, 1, (64, 64), WEATHER)[:, 0]
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02
    other = falling_noise(2, 0, 1, (64, 64), WEATHER)[:, 0]
    for a, b in ((noise[0], noise[4]), (noise[0], other[0]), (noise[0, 1:], noise[0, :-1])):
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.06


def test_the_stream_has_falling_channels_first_and_keeps_the_others():
    plain, falling = stream_noise(4, 2, 3, 16, (4, 6)), stream_noise(4, 2, 3, 16, (4, 6), WEATHER)
    assert torch.equal(plain[:, 12:], falling[:, 12:])
    assert torch.equal(falling[0, :12], falling_noise(4, 2, 3, (4, 6), WEATHER))


def test_still_noise_is_that_of_the_first_frame_in_all_and_falling_channels_fall_on():
    plain = stream_noise(4, 0, 1, 16, (4, 6), WEATHER)
    still = stream_noise(4, 5, 3, 16, (4, 6), WEATHER, is_still=True)
    assert torch.equal(still[:, 12:], plain[:, 12:].expand(-1, -1, 3, -1, -1))
    assert torch.equal(still[0, :12], falling_noise(4, 5, 3, (4, 6), WEATHER))
    assert not torch.equal(still[:, 12:, :1], stream_noise(5, 0, 1, 16, (4, 6), WEATHER)[:, 12:])


def test_bad_groups_are_refused():
    with pytest.raises(ConfigError, match="at least 1, 1 and 0"):
        FallingNoise(key=0, num_channels=4, rows_per_frame=0)
    with pytest.raises(ConfigError, match="at most the 6 there are"):
        stream_noise(0, 0, 1, 6, (4, 4), WEATHER)
