"""How raw frames, latent frames, tokens and chunks relate; sizes only, no tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

from vivace.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentGrid:
    """Strides between pictures and latents.

    Latent frame 0 holds raw frame 0 alone; every later latent frame holds `temporal_stride` raw frames. This
    is the causal convention of the Wan and LTX-2 VAEs (8 k + 1 raw frames make k + 1 latent frames).
    """

    temporal_stride: int
    spatial_stride: int

    def __post_init__(self) -> None:
        if self.temporal_stride < 1 or self.spatial_stride < 1:
            raise ConfigError(
                f"LatentGrid: got strides {self.temporal_stride} and {self.spatial_stride}, "
                "expected at least 1"
            )

    def raw_frames_of(self, latent_frame: int) -> range:
        """Absolute indices of the raw frames that latent frame `latent_frame` holds."""
        if latent_frame == 0:
            return range(1)
        start = 1 + (latent_frame - 1) * self.temporal_stride
        return range(start, start + self.temporal_stride)

    def num_raw_frames(self, num_latent_frames: int, first_latent_frame: int = 0) -> int:
        """Raw frames held by `num_latent_frames` starting at `first_latent_frame`."""
        if num_latent_frames == 0:
            return 0
        starts_stream = first_latent_frame == 0
        return num_latent_frames * self.temporal_stride - (self.temporal_stride - 1 if starts_stream else 0)

    def num_latent_frames(self, num_raw_frames: int) -> int:
        """Latent frames that hold `num_raw_frames` from the start of a stream; the last may be padded."""
        if num_raw_frames <= 0:
            return 0
        return 1 + -(-(num_raw_frames - 1) // self.temporal_stride)

    def latent_size(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Latent height and width.

        Raises:
            ConfigError: If the stride does not divide the picture.
        """
        stride = self.spatial_stride
        if height_px % stride or width_px % stride:
            raise ConfigError(
                f"picture size {width_px}x{height_px} is not divisible by {stride}; resize or crop it to "
                f"{width_px // stride * stride}x{height_px // stride * stride}"
            )
        return height_px // stride, width_px // stride

    def tokens_per_frame(self, height_px: int, width_px: int, patch_size: int = 1) -> int:
        """Tokens of one latent frame for a spatial patch of `patch_size` squared."""
        rows, columns = self.latent_size(height_px, width_px)
        return (rows // patch_size) * (columns // patch_size)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A group of latent frames that are denoised together."""

    index: int
    start: int
    num_frames: int

    @property
    def stop(self) -> int:
        """One past the last latent frame."""
        return self.start + self.num_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkPlan:
    """Where chunks begin and end on the axis of absolute latent frames."""

    first_chunk_frames: int
    frames_per_chunk: int
    num_frames: int | None = None

    def __post_init__(self) -> None:
        if self.first_chunk_frames < 1 or self.frames_per_chunk < 1:
            raise ConfigError(
                f"ChunkPlan: got {self.first_chunk_frames} and {self.frames_per_chunk} latent frames "
                "a chunk, expected at least 1"
            )

    @classmethod
    def live(cls, frames_per_chunk: int, *, first_chunk_frames: int = 1) -> "ChunkPlan":
        """A plan that does not know the stream's length: a first chunk, then equal chunks for ever."""
        return cls(first_chunk_frames=first_chunk_frames, frames_per_chunk=frames_per_chunk)

    @classmethod
    def official(cls, num_frames: int, frames_per_chunk: int) -> "ChunkPlan":
        """The plan of the official SANA-Streaming sampler: the remainder goes to the first chunk.

        Raises:
            ConfigError: If the clip is shorter than one chunk.

        Source: facts of the official sampler (122 latent frames in chunks of 3 give 5, 3, 3, ...).
        """
        if num_frames < frames_per_chunk:
            raise ConfigError(
                f"got {num_frames} latent frames, expected at least one chunk of {frames_per_chunk}"
            )
        first = frames_per_chunk + num_frames % frames_per_chunk
        return cls(first_chunk_frames=first, frames_per_chunk=frames_per_chunk, num_frames=num_frames)

    def chunk(self, index: int) -> Chunk:
        """The chunk with this index, counted from 0.

        Raises:
            ConfigError: If the plan has a length and the chunk lies behind it.
        """
        if index == 0:
            found = Chunk(index=0, start=0, num_frames=self.first_chunk_frames)
        else:
            start = self.first_chunk_frames + (index - 1) * self.frames_per_chunk
            found = Chunk(index=index, start=start, num_frames=self.frames_per_chunk)
        if index < 0 or (self.num_frames is not None and found.stop > self.num_frames):
            raise ConfigError(f"chunk {index} is outside a plan of {self.num_frames} latent frames")
        return found

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in order; endless when the plan has no length."""
        index = 0
        while True:
            chunk = self.chunk(index)
            yield chunk
            if chunk.stop == self.num_frames:
                return
            index += 1

    def sizes(self, start: int, num_frames: int) -> tuple[int, ...]:
        """Chunk sizes that cover `num_frames` latent frames from `start`; both must lie on chunk borders.

        Raises:
            ConfigError: If the range does not start and stop on chunk borders.
        """
        sizes: list[int] = []
        index, position = 0, 0
        while position < start:
            position = self.chunk(index).stop
            index += 1
        while position == start + sum(sizes) and sum(sizes) < num_frames:
            chunk = self.chunk(index)
            sizes.append(chunk.num_frames)
            position = chunk.stop
            index += 1
        if start + sum(sizes) != start + num_frames or position != start + num_frames:
            raise ConfigError(
                f"latent frames {start} to {start + num_frames} do not lie on the chunk borders of "
                f"first {self.first_chunk_frames}, then {self.frames_per_chunk} each"
            )
        return tuple(sizes)
