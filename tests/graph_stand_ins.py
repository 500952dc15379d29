"""Stand-ins for CUDA graphs on a CPU: a replay runs the recorded function again, in place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vivace.pipelines.vae_graphs import StepGraphs
from vivace.pipelines.velocity_graphs import VelocityGraphs
from vivace.state.tree import tree_tensors


def rerun(forward: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """A function that runs another one and moves its results into the tensors of the first run."""
    outputs = forward()

    def replay() -> None:
        for (_, target), (_, new) in zip(tree_tensors(outputs), tree_tensors(forward())):
            target.copy_(new)

    return replay, outputs


class RerunGraphs(VelocityGraphs):
    def _can_record(self, latent: Tensor) -> bool:
        return True

    def _capture(self, forward, device: torch.device):
        return rerun(forward)


class RerunSteps(StepGraphs):
    def _can_record(self, x: Tensor) -> bool:
        return True

    def _capture(self, forward, device: torch.device):
        return rerun(forward)
