import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import partitions
from vivace.diffusion.noise import stream_noise


@given(partitions(9, 5), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_noise_does_not_depend_on_how_frames_are_grouped(sizes, seed):
    whole = stream_noise(seed, 0, 9, 3, (2, 4))
    parts, start = [], 0
    for size in sizes:
        parts.append(stream_noise(seed, start, size, 3, (2, 4)))
        start += size
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_other_seeds_and_frames_give_independent_normal_noise():
    a, b = stream_noise(1, 0, 40, 8, (16, 16)), stream_noise(2, 0, 40, 8, (16, 16))
    assert abs(a.mean().item()) < 0.02
    assert abs(a.std().item() - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.02
    assert abs(torch.corrcoef(torch.stack([a[:, :, 0].flatten(), a[:, :, 1].flatten()]))[0, 1].item()) < 0.1
