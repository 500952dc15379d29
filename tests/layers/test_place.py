import torch

from vivace.layers.place import place_features


def test_places_are_distinct_and_mean_the_same_in_every_size() -> None:
    small, large = (place_features(*size, 4, torch.device("cpu")) for size in ((3, 5), (9, 15)))
    assert small.shape == (15, 16)
    assert torch.cdist(small, small).fill_diagonal_(1).min() > 0.1
    # the middle of every third cell of the finer grid is the middle of a cell of the coarser one
    torch.testing.assert_close(large.unflatten(0, (9, 15))[1::3, 1::3], small.unflatten(0, (3, 5)))


def test_the_first_octave_alone_orders_left_to_right_and_top_to_bottom() -> None:
    grid = place_features(4, 6, 1, torch.device("cpu")).unflatten(0, (4, 6))
    down, across = grid[:, 0, 1], grid[0, :, 3]  # the cosines
    assert (down[1:] < down[:-1]).all()
    assert (across[1:] < across[:-1]).all()


def test_what_serving_made_can_be_trained_with():
    with torch.inference_mode():
        place_features(5, 7, 3, torch.device("cpu"))
    weight = torch.ones(12, requires_grad=True)
    (place_features(5, 7, 3, torch.device("cpu")) @ weight).sum().backward()
    assert weight.grad is not None
