"""The work contract between pipelines and whoever schedules them: what a stream needs next, as a value."""

from dataclasses import dataclass

from vivace.core.grid import Chunk


@dataclass(frozen=True, slots=True)
class Encode:
    """Turn the raw frames of a chunk into source latents."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Denoise:
    """One model call for a chunk: from noise level `sigma` to `sigma_next`.

    `writes` is true where this call also writes the memories (commit on the last step).
    """

    chunk: Chunk
    step: int
    sigma: float
    sigma_next: float
    writes: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """Write the finished chunk into the memories by a pass at noise level 0."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Decode:
    """Turn the finished latents of a chunk into raw frames."""

    chunk: Chunk


Work = Encode | Denoise | Commit | Decode
