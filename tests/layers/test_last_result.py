import torch

from vivace.layers.last_result import LastResult


def test_the_same_tensors_are_computed_once_and_others_again():
    asked = []

    def total(*given):
        asked.append(given)
        return sum(given)

    a, b = torch.ones(2), torch.ones(2)
    last = LastResult()
    assert last.of(total, a, b) is last.of(total, a, b)
    assert len(asked) == 1
    # equal, but another tensor
    torch.testing.assert_close(last.of(total, a, b.clone()), torch.full((2,), 2.0))
    last.of(total, a, b)
    assert len(asked) == 3
