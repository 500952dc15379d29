"""AdamW that leaves out bad train steps, averaged weights, the learning rate; knows no model and no loop."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class SkippingAdamW(torch.optim.AdamW):
    """Fused AdamW whose guarded step does nothing, on the device, where a loss or gradient is not finite.

    Weight decay acts on tensors of two or more dimensions only, not on biases and gains.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """

    # AdamW's fused kernels read this attribute: 1 leaves weights, moments and step counts as they are.
    found_inf: Tensor | None = None

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        trained = list(parameters.values())
        groups = [
            {"params": [item for item in trained if item.dim() >= 2], "weight_decay": weight_decay},
            {"params": [item for item in trained if item.dim() < 2], "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], betas=betas, eps=eps, fused=True)
        device = trained[0].device
        self._named = dict(parameters)
        self.num_skipped = torch.zeros((), device=device)
        self.num_skipped_in_a_row = torch.zeros((), device=device)
        self.longest_skip = torch.zeros((), device=device)

    def guarded_step(self, is_good: Tensor, learning_rate: float) -> None:
        """One update where `is_good` (a boolean scalar on the device) holds; never waits for the device."""
        is_bad = (~is_good).float()
        self.num_skipped = self.num_skipped + is_bad
        self.num_skipped_in_a_row = (self.num_skipped_in_a_row + is_bad) * is_bad
        self.longest_skip = torch.maximum(self.longest_skip, self.num_skipped_in_a_row)
        self.found_inf = is_bad
        for group in self.param_groups:
            group["lr"] = learning_rate
        self.step()

    def named_moments(self, first: torch.dtype, second: torch.dtype) -> dict[str, Tensor]:
        """first/NAME and second/NAME in the given types and step/NAME, of weights that had a gradient yet."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._named.items():
            moments = self.state.get(parameter)
            if moments:
                tensors[f"step/{name}"] = moments["step"]
                tensors[f"first/{name}"] = moments["exp_avg"].to(first)
                tensors[f"second/{name}"] = moments["exp_avg_sq"].to(second)
        return tensors

    @torch.no_grad()
    def restore(self, moments: Mapping[str, Tensor], *, num_skipped: int, num_skipped_in_a_row: int) -> None:
        """Take back what `named_moments` gave, and the counters."""
        for name, parameter in self._named.items():
            if f"step/{name}" in moments:
                # empty_like keeps the weight's memory layout, which the fused kernel relies on.
                self.state[parameter] = {
                    "step": moments[f"step/{name}"].to(parameter.device),
                    "exp_avg": torch.empty_like(parameter).copy_(moments[f"first/{name}"]),
                    "exp_avg_sq": torch.empty_like(parameter).copy_(moments[f"second/{name}"]),
                }
        self.num_skipped = torch.full_like(self.num_skipped, num_skipped)
        self.num_skipped_in_a_row = torch.full_like(self.num_skipped, num_skipped_in_a_row)


class WeightAverage:
    """Exponential moving average of trained weights, with a warm-up that forgets the first steps fast.

    After n updates the decay is min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self._parameters: list[Tensor] = list(parameters.values())
        self.weights = {name: item.detach().clone() for name, item in parameters.items()}

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Take in the present weights; `num_updates` counts this one too."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.weights.values()), self._parameters, num_updates)

    @torch.no_grad()
    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Copy stored averages in; names must be those of the parameters."""
        for name, weight in self.weights.items():
            weight.copy_(stored[name])


def learning_rate_at(
    train_step: int, progress: float, *, peak: float, warmup_steps: int, final_fraction: float
) -> float:
    """Linear warm-up in train steps times a cosine from 1 to `final_fraction` over `progress` in [0, 1]."""
    warmup = min(1.0, (train_step + 1) / warmup_steps) if warmup_steps else 1.0
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return peak * warmup * (final_fraction + (1.0 - final_fraction) * cosine)
