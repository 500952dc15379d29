"""What a train step minimises: the contract between the trainer and every objective; holds no loss."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from vivace.core.seeds import mix_seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What an objective returns: the scalar to minimise, named scalars for the log, the number of samples."""

    total: Float[Tensor, ""]
    parts: dict[str, Tensor] = field(default_factory=dict)
    num_samples: int = 1


# Called with (model, train_step, micro_batch). Data and noise must be a pure function of (seed, train_step,
# micro_batch), see `step_seed`: a resumed run then sees what an uninterrupted one would have seen, and no
# loader has a state to save.
Objective: TypeAlias = Callable[[nn.Module, int, int], Loss]


def step_seed(seed: int, train_step: int, micro_batch: int) -> int:
    """A 63-bit seed for the data and noise of one micro-batch; neighbouring steps get unrelated numbers."""
    return mix_seed(seed, train_step, micro_batch)
