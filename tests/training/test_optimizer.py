"""Updates, averages and learning rates have the values that their definitions give."""

import math

import pytest
import torch
from torch import nn

from vivace.training.optimizer import SkippingAdamW, WeightAverage, learning_rate_at


def make_parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": nn.Parameter(torch.randn(3, 2, generator=generator)),
        "bias": nn.Parameter(torch.randn(3, generator=generator)),
    }


def test_the_first_update_is_adam_with_decay_on_matrices_only() -> None:
    parameters = make_parameters()
    before = {name: item.detach().clone() for name, item in parameters.items()}
    optimizer = SkippingAdamW(parameters, betas=(0.9, 0.99), eps=0.0, weight_decay=0.5)
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, -2.0)
    optimizer.guarded_step(torch.tensor(True), 0.1)
    # The first step of Adam without epsilon is the sign of the gradient.
    torch.testing.assert_close(parameters["weight"].detach(), before["weight"] * (1 - 0.1 * 0.5) + 0.1)
    torch.testing.assert_close(parameters["bias"].detach(), before["bias"] + 0.1)


def test_a_bad_step_leaves_weights_and_moments_and_counts_runs() -> None:
    parameters = make_parameters()
    optimizer = SkippingAdamW(parameters, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.5)
    for is_good in (True, False, False, True, False):
        before = {name: item.detach().clone() for name, item in parameters.items()}
        for parameter in parameters.values():
            parameter.grad = torch.full_like(parameter, 1.0 if is_good else math.nan)
        optimizer.guarded_step(torch.tensor(is_good), 0.1)
        for name, parameter in parameters.items():
            assert torch.equal(parameter, before[name]) is not is_good
    assert (optimizer.num_skipped, optimizer.num_skipped_in_a_row, optimizer.longest_skip) == (3, 1, 2)
    moments = optimizer.named_moments(torch.float32, torch.float32)
    assert moments["step/weight"] == 2
    assert all(torch.isfinite(item).all() for item in moments.values())


def test_moments_restore_into_a_fresh_optimizer_in_the_weights_layout() -> None:
    def make() -> tuple[nn.Parameter, SkippingAdamW]:
        image = torch.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
        parameter = nn.Parameter(image.contiguous(memory_format=torch.channels_last))
        optimizer = SkippingAdamW({"conv": parameter}, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0)
        return parameter, optimizer

    def step(parameter: nn.Parameter, optimizer: SkippingAdamW, count: int) -> None:
        for _ in range(count):
            parameter.grad = parameter.detach().square() + 0.1
            optimizer.guarded_step(torch.tensor(True), 0.01)

    parameter, optimizer = make()
    step(parameter, optimizer, 3)
    other, fresh = make()
    with torch.no_grad():
        other.copy_(parameter)
    stored = optimizer.named_moments(torch.float32, torch.float32)
    stored = {name: item.contiguous().clone() for name, item in stored.items()}
    fresh.restore(stored, num_skipped=4, num_skipped_in_a_row=1)
    assert (fresh.num_skipped, fresh.num_skipped_in_a_row) == (4, 1)
    step(parameter, optimizer, 2)
    step(other, fresh, 2)
    assert torch.equal(parameter, other)
    compact = optimizer.named_moments(torch.bfloat16, torch.float32)
    assert compact["first/conv"].dtype == torch.bfloat16
    assert compact["second/conv"].dtype == torch.float32


def test_the_average_warms_up_and_then_keeps_its_decay() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    average = WeightAverage({"w": parameter}, decay=0.9)
    expected = 0.0
    for update in range(1, 200):
        with torch.no_grad():
            parameter.fill_(float(update))
        average.update(update)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    torch.testing.assert_close(average.weights["w"], torch.full((2,), expected))
    average.restore({"w": torch.tensor([1.0, 2.0])})
    assert average.weights["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("train_step", "progress", "expected"),
    [
        (0, 0.0, 0.1),  # a tenth of the warm-up
        (9, 0.0, 1.0),
        (50, 0.5, 0.5 * (1 + 0.2)),
        (50, 1.0, 0.2),
        (50, 1.7, 0.2),  # past the end
        (4, 1.0, 0.5 * 0.2),
    ],
)
def test_the_learning_rate_warms_up_and_falls_on_a_cosine(
    train_step: int, progress: float, expected: float
) -> None:
    rate = learning_rate_at(train_step, progress, peak=3.0, warmup_steps=10, final_fraction=0.2)
    assert rate == pytest.approx(3.0 * expected)


def test_without_a_warm_up_the_first_rate_is_the_peak() -> None:
    assert learning_rate_at(0, 0.0, peak=3.0, warmup_steps=0, final_fraction=0.0) == 3.0
