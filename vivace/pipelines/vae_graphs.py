"""Replays the steps of a video VAE as CUDA graphs, for VAEs whose kernels are shorter than their launches."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivace.core.grid import LatentGrid
from vivace.pipelines.graph_pool import GraphPool
from vivace.pipelines.parts import StreamingVae
from vivace.state.tree import tree_map, tree_tensors

Signature = tuple[object, ...]
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


@dataclass(slots=True)
class _Recording:
    """A recorded step with the tensors that it reads from and writes to at every replay."""

    replay: Callable[[], None]
    x: Tensor
    state: Any
    y: Tensor
    after: Any


class StepGraphs:
    """A step `(x, state) -> (y, state)`, replayed from CUDA graphs once its shapes have come back.

    A call has the contract of the step itself; states stay values. Calls on other devices run as they are, as
    do those without a state, which begin a stream, unless `settled_calls` is 0. One object serves one thread.

    Args:
        step: What is replayed; it must depend on nothing but its arguments and weights that stay in place.
        settled_calls: Calls of one signature before it is recorded; 0 records at first sight, which pays
            where streams come and go.
        max_recordings: Recordings that are kept, the most recent ones; one that was dropped has to settle
            again.
    """

    def __init__(self, step: Step, *, settled_calls: int = 2, max_recordings: int = 4) -> None:
        self.step = step
        self.settled_calls = settled_calls
        self.max_recordings = max_recordings
        self._recordings: OrderedDict[Signature, _Recording] = OrderedDict()
        self._calls_seen: dict[Signature, int] = {}
        self._pool = GraphPool()

    @torch.inference_mode()
    def __call__(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The step."""
        if not self._can_record(x) or (state is None and self.settled_calls):
            return self.step(x, state)
        signature = (
            state is None,
            *((leaf.shape, leaf.dtype, leaf.device) for _, leaf in tree_tensors((x, state))),
        )
        recording = self._recordings.get(signature)
        if recording is None:
            seen = self._calls_seen.get(signature, 0)
            self._calls_seen[signature] = seen + 1
            if seen < self.settled_calls:
                return self.step(x, state)
            recording = self._recordings[signature] = self._record(x, state)
            while len(self._recordings) > self.max_recordings:
                dropped, _ = self._recordings.popitem(last=False)
                self._calls_seen[dropped] = 0
        self._recordings.move_to_end(signature)
        _copy_into((recording.x, recording.state), (x, state))
        recording.replay()
        return recording.y.clone(), tree_map(torch.clone, recording.after)

    def num_recordings(self) -> int:
        """Graphs that exist at the moment."""
        return len(self._recordings)

    def _record(self, x: Tensor, state: Any) -> _Recording:
        static_x = x.clone()
        static_state = None if state is None else tree_map(torch.clone, state)
        replay, (y, after) = self._capture(lambda: self.step(static_x, static_state), x.device)
        return _Recording(replay, static_x, static_state, y, after)

    def _can_record(self, x: Tensor) -> bool:
        return x.is_cuda

    def _capture(
        self, forward: Callable[[], tuple[Tensor, Any]], device: torch.device
    ) -> tuple[Callable[[], None], tuple[Tensor, Any]]:
        return self._pool.capture(forward, device)


class GraphedVae:
    """A `StreamingVae` whose encode and decode are replayed; the two may run beside each other."""

    def __init__(
        self,
        vae: StreamingVae,
        graphs: type[StepGraphs] = StepGraphs,
        *,
        settled_calls: int = 2,
        max_recordings: int = 4,
    ) -> None:
        self.vae = vae
        self._encode = graphs(vae.encode, settled_calls=settled_calls, max_recordings=max_recordings)
        self._decode = graphs(vae.decode, settled_calls=settled_calls, max_recordings=max_recordings)

    @property
    def grid(self) -> LatentGrid:
        """Strides between pictures and latents."""
        return self.vae.grid

    def encode(
        self, video: Float[Tensor, "b c r h w"], state: Any
    ) -> tuple[Float[Tensor, "b c2 t h2 w2"], Any]:
        """As the VAE's own."""
        return self._encode(video, state)

    def decode(
        self, latent: Float[Tensor, "b c t h w"], state: Any
    ) -> tuple[Float[Tensor, "b c2 r h2 w2"], Any]:
        """As the VAE's own."""
        return self._decode(latent, state)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""
        return self.vae.parameters()

    def to(self, device: torch.device, dtype: torch.dtype) -> Self:
        """Move the weights; before the first replay only."""
        self.vae.to(device, dtype)
        return self

    def eval(self) -> Self:
        """Leave training mode."""
        self.vae.eval()
        return self


def _copy_into(targets: object, sources: object) -> None:
    for (_, target), (_, source) in zip(tree_tensors(targets), tree_tensors(sources), strict=True):
        target.copy_(source, non_blocking=True)
