"""Processes that train the same weights on different data: who they are, and how they stay equal.

Started by `torchrun --nproc-per-node N -m ...`; a process alone is the plain case, in which nothing is sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import get_node_local_rank


@dataclass(frozen=True, slots=True)
class Replicas:
    """One of `count` processes, the `rank`-th.

    Attributes:
        hosts: Group over which the processes agree about plain numbers; None in a process alone.
    """

    rank: int = 0
    count: int = 1
    hosts: dist.ProcessGroup | None = None

    @classmethod
    def join(cls, device_type: str) -> Self:
        """Meet the other processes that torchrun started; a process alone where it did not."""
        if not dist.is_torchelastic_launched():
            return cls()
        if device_type == "cuda":
            torch.cuda.set_device(get_node_local_rank())
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
        hosts = dist.new_group(backend="gloo")
        assert isinstance(hosts, dist.ProcessGroup), "every process belongs to the group of all"
        return cls(dist.get_rank(), dist.get_world_size(), hosts)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the log and the checkpoints."""
        return self.rank == 0

    def device(self, device_type: str) -> torch.device:
        """Where this process computes: a GPU of its own, or the CPU."""
        is_own = device_type == "cuda" and self.count > 1
        return torch.device("cuda", torch.cuda.current_device()) if is_own else torch.device(device_type)

    def agree(self, numbers: Sequence[float]) -> list[float]:
        """The numbers of the first process, in all of them; never waits for a GPU."""
        if self.count == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64)
        dist.broadcast(told, 0, group=self.hosts)
        return told.tolist()

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over the processes; one message for all, in fp32."""
        if self.count == 1:
            return
        listed = list(tensors)
        flat = torch.cat([tensor.float().flatten() for tensor in listed])
        dist.all_reduce(flat)
        parts = (flat / self.count).split([tensor.numel() for tensor in listed])
        for tensor, part in zip(listed, parts):
            tensor.copy_(part.view_as(tensor))

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by that of the first process."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def leave(self) -> None:
        """End what `join` began, once all processes are here."""
        if self.count > 1:
            dist.barrier(group=self.hosts)
            dist.destroy_process_group()
