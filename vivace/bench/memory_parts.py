"""Says where GPU memory goes: what lies there between works, and the peak of each kind of work."""

import gc
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vivace.bench.end_to_end import GIB, EndToEndSettings, live_plan, random_frames, stream_settings
from vivace.catalog.sana_streaming import FRAMES_PER_CHUNK
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.stream import EditStream
from vivace.state.stream_state import StreamState
from vivace.state.tree import tree_tensors

# kinds of blocks that a report names by their size
NUM_UNNAMED = 6


class Meter(Protocol):
    """Counts a device's memory in bytes."""

    def restart(self) -> None:
        """Wait for the device and let the peaks begin anew; what is held and not used goes back."""
        ...

    def allocated(self) -> int:
        """In tensors at the moment."""
        ...

    def peak(self) -> int:
        """Most in tensors since the last restart."""
        ...

    def reserved(self) -> int:
        """Most that was taken from the device since then: tensors, and memory of recordings between them."""
        ...

    def blocks(self) -> dict[int, int]:
        """Bytes of every block in use, by its address."""
        ...


class CudaMeter:
    """PyTorch's own counters of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def restart(self) -> None:
        """Wait for the device and let the peaks begin anew; what is held and not used goes back."""
        gc.collect()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def allocated(self) -> int:
        """In tensors at the moment."""
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """Most in tensors since the last restart."""
        return torch.cuda.max_memory_allocated(self._device)

    def reserved(self) -> int:
        """Most that was taken from the device since then: tensors, and memory of recordings between them."""
        return torch.cuda.max_memory_reserved(self._device)

    def blocks(self) -> dict[int, int]:
        """Bytes of every block in use, by its address."""
        segments = torch.cuda.memory_snapshot()
        blocks = [block for segment in segments for block in segment["blocks"]]
        return {
            block["address"]: block["requested_size"]
            for block in blocks
            if block["state"] == "active_allocated"
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkMemory:
    """One kind of work, in GiB, largest of all its calls in a chunk.

    Attributes:
        work: Encode, Denoise, Commit or Decode.
        before: In tensors as it began.
        peak: Most in tensors meanwhile.
        reserved: Most that was taken from the device meanwhile.
    """

    work: str
    before: float
    peak: float
    reserved: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryReport:
    """Where the memory of one stream goes, in GiB.

    Attributes:
        settings: What ran.
        precision: Of the transformer's products.
        held: What lies there between works, by name; `rest` is what no name explains.
        unnamed: The largest blocks of the rest: their sizes and how many there are of each.
        works: The works of one chunk, once everything is recorded.
        first_chunk: The works of another stream's first chunk, while the first stream stays open.
    """

    settings: EndToEndSettings
    precision: str
    held: dict[str, float]
    unnamed: tuple[tuple[float, int], ...]
    works: tuple[WorkMemory, ...]
    first_chunk: tuple[WorkMemory, ...]


@torch.inference_mode()
def measure_memory(pipeline: EditPipeline, settings: EndToEndSettings, meter: Meter) -> MemoryReport:
    """Run a stream until it has settled, then count around every work of a chunk, in the serial loop."""
    plan = live_plan()
    num_first, num_raw = (pipeline.vae.grid.num_raw_frames(FRAMES_PER_CHUNK, start) for start in (0, 1))
    frames = random_frames(settings, num_raw, seed=0)
    stream = pipeline.open("any", stream_settings(settings, plan, seed=0))
    pipeline.step(stream, frames[:num_first])
    for _ in range(settings.num_warmup_chunks):
        pipeline.step(stream, frames)
    meter.restart()
    held = {
        "transformer": sum(map(_num_bytes, pipeline.dit.state_dict().values())) / GIB,
        "vae": sum(map(_num_bytes, pipeline.vae.parameters())) / GIB,
        "encoder state": _tree_gib(stream.memories.encoder),
        "transformer state": _tree_gib(stream.memories.dit),
        "decoder state": _tree_gib(stream.memories.decoder),
        "prompt": sum(_num_bytes(tensor) for _, tensor in tree_tensors(stream.prompt.context)) / GIB,
    }
    allocated = meter.allocated() / GIB
    held |= {"rest": allocated - sum(held.values()), "reserved beyond": meter.reserved() / GIB - allocated}
    unnamed = _unnamed(pipeline, stream, meter)
    works = _counted(pipeline, stream, frames, meter)
    other = pipeline.open("any", stream_settings(settings, plan, seed=1))
    first_chunk = _counted(pipeline, other, frames[:num_first], meter)
    return MemoryReport(
        settings=settings,
        precision=pipeline.precision,
        held=held,
        unnamed=unnamed,
        works=works,
        first_chunk=first_chunk,
    )


def _unnamed(pipeline: EditPipeline, stream: EditStream, meter: Meter) -> tuple[tuple[float, int], ...]:
    """Sizes in GiB and numbers of the blocks that belong to no weight, state or prompt."""
    memories = stream.memories
    states = [
        state.peek() for state in (memories.encoder, memories.dit, memories.decoder) if state is not None
    ]
    named = [
        *pipeline.dit.state_dict().values(),
        *pipeline.vae.parameters(),
        *(tensor for _, tensor in tree_tensors((tuple(states), stream.prompt.context))),
    ]
    places = {tensor.untyped_storage().data_ptr() for tensor in named}
    sizes = Counter(size for address, size in meter.blocks().items() if address not in places)
    largest = sorted(sizes, key=lambda size: size * sizes[size], reverse=True)[:NUM_UNNAMED]
    return tuple((size / GIB, sizes[size]) for size in largest)


def _counted(
    pipeline: EditPipeline, stream: EditStream, frames: torch.Tensor, meter: Meter
) -> tuple[WorkMemory, ...]:
    stream.push(frames)
    counted: dict[str, WorkMemory] = {}
    while (work := stream.plan()) is not None:
        meter.restart()
        before = meter.allocated() / GIB
        (result,) = pipeline.run([(stream, work)])
        name, peak, reserved = type(work).__name__, meter.peak() / GIB, meter.reserved() / GIB
        if name not in counted or peak > counted[name].peak:
            counted[name] = WorkMemory(work=name, before=before, peak=peak, reserved=reserved)
        stream.advance(result.flight, result.memories)
        del result
    return tuple(counted.values())


def _num_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _tree_gib(state: StreamState[Any] | None) -> float:
    return 0.0 if state is None else state.num_bytes() / GIB
