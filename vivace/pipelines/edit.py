"""Instruction editing of video streams: runs work items, batched where streams allow it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivace.core.errors import ConfigError
from vivace.core.falling_noise import FallingNoise
from vivace.diffusion.noise import stream_noise
from vivace.diffusion.sampler import euler_step
from vivace.layers.quantized import QuantizedLinear
from vivace.models.streaming_dit import DitState, StreamingDit, TextContext
from vivace.pipelines.parts import PromptFeatureSource, StreamingVae
from vivace.pipelines.stream import ChunkInFlight, EditStream, Memories, Prompt, StreamSettings, stepped
from vivace.pipelines.vae_calls import VaeCalls, to_device
from vivace.pipelines.velocity_graphs import VelocityGraphs
from vivace.pipelines.work import Commit, Decode, Denoise, Encode, Work
from vivace.state.stream_state import StreamState, join_states, split_state

Latent = Float[Tensor, "b c t h w"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a work item gave: the chunk's next form, the memories after it and, from a decode, raw frames.

    Frames that come from a GPU are page-locked; copy what is to be kept for long. `is_finite` is false where
    the decoder gave NaN or infinity, which bytes cannot show.
    """

    flight: ChunkInFlight | None
    memories: Memories
    frames: UInt8[Tensor, "r h w c"] | None = None
    is_finite: bool = True


@dataclass(frozen=True, slots=True)
class Launched:
    """A result whose tensors the device may still be working on; frames of a decode lie on the device."""

    flight: ChunkInFlight | None
    memories: Memories
    frames: UInt8[Tensor, "r h w c"] | None = None
    is_finite: Bool[Tensor, ""] | None = None

    def fetched(self) -> Result:
        """The result with its frames in main memory; waits for them."""
        if self.frames is None or self.is_finite is None:
            return Result(self.flight, self.memories)
        frames = to_host(self.frames)
        # comes after the frames on the same CUDA stream, so that they are there as well
        return Result(self.flight, self.memories, frames, bool(self.is_finite.item()))


class EditPipeline:
    """The networks of an editor and how each kind of work uses them."""

    def __init__(
        self,
        vae: StreamingVae,
        dit: StreamingDit,
        prompts: PromptFeatureSource,
        *,
        device: torch.device,
        dtype: torch.dtype,
        falling_noise: Sequence[FallingNoise] = (),
        has_still_noise: bool = False,
        graphs: VelocityGraphs | None = None,
        vae_frames: int | None = None,
    ) -> None:
        """Move VAE and DiT.

        The prompt encoder stays where it is: it may live elsewhere, on the CPU for example.

        Args:
            vae: Between pictures and latents.
            dit: Predicts velocities.
            prompts: Reads instructions.
            device: Where VAE and DiT compute.
            dtype: In what.
            falling_noise: The noise channels that fall, as in the DiT's training.
            has_still_noise: Whether the other channels are the same in every latent frame of a stream.
            graphs: Serves model calls for one stream alone in place of `dit`, of which it is made; calls that
                streams share go to `dit`. One thread may then run works.
            vae_frames: Latent frames a VAE call: fewer need less memory; see `VaeCalls`.

        Raises:
            ConfigError: If `graphs` is of another model, or `vae_frames` is less than 1.
        """
        if graphs is not None and graphs.dit is not dit:
            raise ConfigError("got graphs of another model; make them of the model that the pipeline gets")
        self.vae = vae.to(device, dtype).eval()
        self.dit = dit.to(device, dtype).eval()
        self.prompts = prompts
        self.device = device
        self.dtype = dtype
        self.falling_noise = tuple(falling_noise)
        self.has_still_noise = has_still_noise
        self.graphs = graphs
        self._calls = VaeCalls(self.vae, device, dtype, vae_frames)

    @property
    def precision(self) -> Literal["fp32", "bf16", "fp8"]:
        """What the transformer's products are computed in, most of them."""
        if any(isinstance(module, QuantizedLinear) for module in self.dit.modules()):
            return "fp8"
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    @property
    def vae_frames(self) -> int | None:
        """Latent frames a VAE call; None is a chunk at once."""
        return self._calls.frames_per_call

    @torch.inference_mode()
    def encode_prompt(self, words: str) -> Prompt:
        """Prepare an instruction.

        Raises:
            InputError: If the instruction is empty or too long.
        """
        features = self.prompts.encode([words])
        text = features.tokens.to(self.device, self.dtype)
        context = self.dit.embed_text(text, features.mask.to(self.device))
        if self.device.type == "cuda":
            # whoever uses it next may do so on another stream
            torch.cuda.current_stream(self.device).synchronize()
        return Prompt(words, context)

    def open(self, words: str, settings: StreamSettings) -> EditStream:
        """A new stream.

        Raises:
            InputError: If the instruction is empty or too long.
            ConfigError: If the picture size does not fit the VAE.
        """
        self.vae.grid.latent_size(settings.height_px, settings.width_px)
        return EditStream(settings, self.vae.grid, self.encode_prompt(words))

    def step(self, stream: EditStream, frames: UInt8[Tensor, "r h w c"] | None) -> UInt8[Tensor, "r h w c"]:
        """Push frames (None: no more come), do all work that is possible, return the edited frames.

        The definition of what an engine may do faster: plan, run, advance, for one stream.
        """
        if frames is None:
            stream.finish()
        else:
            stream.push(frames)
        done: list[Tensor] = []
        while (work := stream.plan()) is not None:
            (result,) = self.run([(stream, work)])
            stream.advance(result.flight, result.memories)
            if result.frames is not None:
                done.append(result.frames)
        if not done:
            return torch.empty(0, stream.settings.height_px, stream.settings.width_px, 3, dtype=torch.uint8)
        return torch.cat(done)

    def run(self, works: Sequence[tuple[EditStream, Work]]) -> list[Result]:
        """Results in the order of `works`; one batched call for each group of works of one kind and shape.

        Streams are not changed: pass each result to its stream's `advance`. Works that write memories consume
        the stream's state.
        """
        return [launched.fetched() for launched in self.launch(works)]

    @torch.inference_mode()
    def launch(self, works: Sequence[tuple[EditStream, Work]]) -> list[Launched]:
        """As `run`, but waits for nothing: on a GPU the work is queued on the current CUDA stream."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for index, (stream, work) in enumerate(works):
            groups.setdefault(_group_key(stream, work), []).append(index)
        results: dict[int, Launched] = {}
        for members in groups.values():
            streams = [works[index][0] for index in members]
            items = [works[index][1] for index in members]
            # measured once for the shapes of a stream alone; the sizes of groups change too often for that
            with _measured_convolutions(self.device.type == "cuda" and len(streams) == 1):
                results.update(zip(members, self._run_group(streams, items)))
        return [results[index] for index in range(len(works))]

    def _run_group(self, streams: list[EditStream], works: list[Work]) -> list[Launched]:
        match works[0]:
            case Encode():
                return self._encode(streams)
            case Denoise():
                return self._denoise(streams, [work for work in works if isinstance(work, Denoise)])
            case Commit():
                return self._commit(streams)
            case Decode():
                return self._decode(streams)

    def _encode(self, streams: list[EditStream]) -> list[Launched]:
        chunk = streams[0].in_flight.chunk
        latent, state = self._calls.encode(
            [stream.in_flight.frames for stream in streams],
            _joined([stream.memories.encoder for stream in streams]),
            chunk,
        )
        states = split_state(state, len(streams))
        _consume([stream.memories.encoder for stream in streams])
        results = []
        for stream, source, encoder in zip(streams, latent.split(1), states):
            settings = stream.settings
            noise = stream_noise(
                settings.seed,
                chunk.start,
                chunk.num_frames,
                source.shape[1],
                (source.shape[3], source.shape[4]),
                self.falling_noise,
                is_still=self.has_still_noise,
            )
            flight = replace(stream.in_flight, source=source, latent=to_device(noise, self.device))
            results.append(Launched(flight, replace(stream.memories, encoder=encoder)))
        return results

    def _denoise(self, streams: list[EditStream], works: list[Denoise]) -> list[Launched]:
        writes = works[0].writes
        # filled on the device: a copy from main memory would wait for it
        sigmas = torch.cat([torch.full((1, 1), work.sigma, device=self.device) for work in works])
        velocity, states = self._velocity(streams, sigmas, write=writes)
        results = []
        for index, (stream, work) in enumerate(zip(streams, works)):
            noisy = _latent(stream)
            latent = euler_step(noisy, velocity[index : index + 1].float(), work.sigma, work.sigma_next)
            flight = stepped(stream.in_flight, latent, is_committed=writes)
            memories = replace(stream.memories, dit=states[index]) if writes else stream.memories
            results.append(Launched(flight, memories))
        return results

    def _commit(self, streams: list[EditStream]) -> list[Launched]:
        _, states = self._velocity(streams, torch.zeros(len(streams), 1, device=self.device), write=True)
        return [
            Launched(replace(stream.in_flight, is_committed=True), replace(stream.memories, dit=state))
            for stream, state in zip(streams, states)
        ]

    def _velocity(
        self, streams: list[EditStream], sigmas: Float[Tensor, "b 1"], *, write: bool
    ) -> tuple[Latent, list[DitState]]:
        noisy = torch.cat([_latent(stream) for stream in streams]).to(self.dtype)
        source = torch.cat([_source(stream) for stream in streams])
        text = _join_text([stream.in_flight.prompt.context for stream in streams])
        state = _joined([stream.memories.dit for stream in streams])
        dit = self.dit if self.graphs is None or len(streams) > 1 else self.graphs
        velocity, after = dit(torch.cat([noisy, source], dim=1), sigmas, text, state, write=write)
        if not write:
            return velocity, []
        assert after is not None
        if len(streams) > 1:
            _consume([stream.memories.dit for stream in streams])
        return velocity, split_state(after, len(streams))

    def _decode(self, streams: list[EditStream]) -> list[Launched]:
        latent = torch.cat([_latent(stream) for stream in streams]).to(self.dtype)
        frames, are_finite, state = self._calls.decode(
            latent,
            _joined([stream.memories.decoder for stream in streams]),
            streams[0].in_flight.chunk,
        )
        states = split_state(state, len(streams))
        _consume([stream.memories.decoder for stream in streams])
        results = []
        for stream, edited, decoder, is_finite in zip(streams, frames, states, are_finite):
            kept = edited[: edited.shape[0] - stream.in_flight.num_padded]
            results.append(Launched(None, replace(stream.memories, decoder=decoder), kept, is_finite))
        return results


@contextmanager
def _measured_convolutions(is_wanted: bool) -> Iterator[None]:
    """Let cuDNN choose by measuring, as in `vivace.bench.ltx2_speed`."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or is_wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def to_host(frames: UInt8[Tensor, "r h w c"]) -> UInt8[Tensor, "r h w c"]:
    """The frames in main memory: from a GPU page-locked and on their way, behind its current work."""
    if not frames.is_cuda:
        return frames
    # laid out as pictures on the device, where that costs nothing
    host = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
    return host.copy_(frames.contiguous(), non_blocking=True)


def _group_key(stream: EditStream, work: Work) -> tuple[object, ...]:
    settings = stream.settings
    writes = work.writes if isinstance(work, Denoise) else None
    return type(work), writes, work.chunk.start, work.chunk.num_frames, settings.height_px, settings.width_px


def _joined(states: Sequence[StreamState | None]) -> StreamState | None:
    present = [state for state in states if state is not None]
    if not present:
        return None
    if len(present) != len(states):
        raise ConfigError("streams with and without memory cannot share a call; group them by chunk")
    return present[0] if len(present) == 1 else join_states(present)


def _consume(states: Sequence[StreamState | None]) -> None:
    # only after the call succeeded, so that a failed call can be tried again
    for state in states:
        if state is not None and not state.is_consumed:
            state.take()


def _join_text(contexts: Sequence[TextContext]) -> TextContext:
    if len(contexts) == 1:
        return contexts[0]
    keys = tuple(torch.cat(group) for group in zip(*(context.keys for context in contexts)))
    values = tuple(torch.cat(group) for group in zip(*(context.values for context in contexts)))
    return TextContext(keys, values, torch.cat([context.mask for context in contexts]))


def _latent(stream: EditStream) -> Latent:
    latent = stream.in_flight.latent
    if latent is None:
        raise ConfigError("the chunk has no latent yet; its frames must be encoded first")
    return latent


def _source(stream: EditStream) -> Latent:
    source = stream.in_flight.source
    if source is None:
        raise ConfigError("the chunk has no source latent yet; its frames must be encoded first")
    return source
