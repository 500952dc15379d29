"""Records functions as CUDA graphs that share memory."""

from collections.abc import Callable
from typing import TypeVar

import torch

Outputs = TypeVar("Outputs")


class GraphPool:
    """Recordings that never run at the same time, so that each may work in the memory of the others."""

    def __init__(self) -> None:
        self._first: torch.cuda.CUDAGraph | None = None
        self._side: torch.cuda.Stream | None = None

    def capture(
        self, forward: Callable[[], Outputs], device: torch.device
    ) -> tuple[Callable[[], None], Outputs]:
        """A function that runs `forward` again into the tensors that are returned beside it."""
        # a first run outside builds kernels and work spaces, which must not happen while recording
        # on one CUDA stream for all, because libraries keep a work space for every stream that they see
        side = self._side = self._side or torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            forward()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = None if self._first is None else self._first.pool()
        self._first = self._first or graph
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            outputs = forward()
        return graph.replay, outputs
