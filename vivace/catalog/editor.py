"""The Python interface: an editor, and live streams that take raw frames of any size and give edited ones."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, overload

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vivace.catalog.entries import find_folder
from vivace.catalog.load import Graphs, Precision, build_pipeline, use_threads
from vivace.catalog.model_folder import EditorDefaults
from vivace.catalog.needs import check_stream_room, stream_needs
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import InputError
from vivace.data.fit import Crop, centre_crop, divisible_size, resize_and_crop
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.pipelines.edit import EditPipeline
from vivace.pipelines.overlap import CudaLanes, Lanes, OverlappedEdit
from vivace.pipelines.stream import CommitMode, EditStream, Memories, Prompt, StreamSettings


def open_editor(
    name: str | Path = "tiny-edit",
    *,
    device: str | torch.device = "auto",
    dtype: Precision = "auto",
    num_threads: int | None = None,
    graphs: Graphs = "auto",
    vae_frames: int | None = None,
) -> "Editor":
    """Load a model.

    Args:
        name: A name in the catalogue (see `vivace models`), or the path of a model folder.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        dtype: `auto`, `fp32` or `bf16`.
        num_threads: CPU threads; None asks VIVACE_NUM_THREADS, and without it torch decides.
        graphs: What a GPU replays from CUDA graphs, see `vivace.catalog.load.build_pipeline`.
        vae_frames: Latent frames a VAE call: 1 needs the least memory, None takes a chunk at once.

    Raises:
        InputError: If the model or device is unknown or not there.
        WeightsError: If weights are missing or do not fit.
    """
    use_threads(num_threads)
    folder = find_folder(name)
    pipeline = build_pipeline(folder, device, dtype, graphs=graphs, vae_frames=vae_frames)
    return Editor(pipeline, folder.defaults)


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """Everything a stream remembered at one moment; it can be restored any number of times."""

    memories: Memories
    next_chunk: int
    prompt: Prompt
    size: tuple[int, int]


class Editor:
    """A loaded model; opens any number of independent streams.

    `lanes` are what streams that overlap run on: None takes CUDA streams on a GPU and nothing elsewhere.
    """

    def __init__(self, pipeline: EditPipeline, defaults: EditorDefaults, lanes: Lanes | None = None) -> None:
        self.pipeline = pipeline
        self.defaults = defaults
        self._lanes = lanes

    @property
    def size_multiple(self) -> int:
        """What width and height of edited frames are divisible by."""
        return self.pipeline.vae.grid.spatial_stride

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Width and height at which a source of this size is edited; see `EditorDefaults.fit`."""
        return self.defaults.fit(width, height, self.size_multiple)

    def check_room(self, size: tuple[int, int]) -> None:
        """Ask whether the GPU has room for one more stream of this width and height.

        Raises:
            InputError: If a full-size model has not; the sentence says what to lower.
        """
        pipeline = self.pipeline
        if pipeline.device.type == "cuda" and isinstance(pipeline.vae, Ltx2Vae):
            needs = stream_needs(
                pipeline.dit, pipeline.vae, self.defaults, size, pipeline.dtype, pipeline.vae_frames
            )
            check_stream_room(pipeline.device, needs, size)

    def encode_prompt(self, words: str) -> Prompt:
        """Prepare an instruction, so that changing to it later takes no time.

        Raises:
            InputError: If the instruction is empty, too long or not readable.
        """
        return self.pipeline.encode_prompt(words)

    def open(
        self,
        prompt: str | Prompt,
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        num_denoising_steps: int | None = None,
        commit: CommitMode | None = None,
        overlaps: bool = False,
    ) -> "LiveStream":
        """A new stream.

        Args:
            prompt: What to do with the video.
            size: Width and height of the edited frames, moved to the nearest multiple of `size_multiple`;
                None keeps the aspect of the first frame at the model's native area.
            seed: Another seed gives another version of the edit.
            num_denoising_steps: 1 to 8; None is the model's own number.
            commit: `clean_pass` or `last_step` (a call less; for models trained for it); None is the model's
                own.
            overlaps: On a GPU, encode, denoise and decode neighbouring chunks at the same time: the same
                frames at a higher rate, but up to two chunks later.

        Raises:
            InputError: If the prompt, size or number of steps cannot be used.
        """
        steps = self.defaults.num_denoising_steps if num_denoising_steps is None else num_denoising_steps
        options = _StreamOptions(
            seed=seed,
            sigmas=editing_sigmas(steps),
            commit=self.defaults.commit if commit is None else commit,
        )
        prepared = self.encode_prompt(prompt) if isinstance(prompt, str) else prompt
        wanted = None if size is None else divisible_size(*size, self.size_multiple)
        if overlaps and self._lanes is None and self.pipeline.device.type == "cuda":
            self._lanes = CudaLanes(self.pipeline.device)
        return LiveStream(self, prepared, options, wanted, self._lanes if overlaps else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _StreamOptions:
    seed: int
    sigmas: tuple[float, ...]
    commit: CommitMode


class LiveStream:
    """A video under way: push raw frames, take edited ones, change the prompt.

    Frames are `r h w c` uint8, as numpy arrays or torch tensors, of any size; what comes out has the type of
    what went in and `size`. A stream works in chunks, so a push returns the frames that became ready, often
    none, and in all exactly as many as went in once `finish` was called.
    """

    def __init__(
        self,
        editor: Editor,
        prompt: Prompt,
        options: _StreamOptions,
        size: tuple[int, int] | None,
        lanes: Lanes | None = None,
    ) -> None:
        self._editor = editor
        self._lanes = lanes
        self._overlapped: OverlappedEdit | None = None
        self._prompt = prompt
        self._options = options
        self._size = size
        self._stream: EditStream | None = None
        self._crop: Crop | None = None
        self._is_torch = False
        self._is_closed = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the edited frames; None until the first frame decides."""
        return self._size

    @property
    def num_denoising_steps(self) -> int:
        """Model calls a chunk before the commit."""
        return len(self._options.sigmas)

    @property
    def commit(self) -> CommitMode:
        """How a chunk enters the memories."""
        return self._options.commit

    @property
    def crop(self) -> Crop | None:
        """What was cut off the newest frames to fit `size`, in source pixels; None before the first."""
        return self._crop

    @property
    def num_waiting(self) -> int:
        """Raw frames that no chunk has taken yet."""
        return 0 if self._stream is None else self._stream.num_waiting

    @property
    def prompt(self) -> str:
        """The instruction that the next chunk will follow."""
        return self._prompt.words

    @property
    def memories(self) -> Memories:
        """What the stream remembers between chunks; the next chunk consumes it, so clone what is to stay."""
        if self._overlapped is not None:
            self._overlapped.join()
        return Memories(None, None, None) if self._stream is None else self._stream.memories

    @overload
    def push(self, frames: UInt8[np.ndarray, "r h w c"]) -> UInt8[np.ndarray, "r2 h2 w2 c"]: ...

    @overload
    def push(self, frames: UInt8[Tensor, "r h w c"]) -> UInt8[Tensor, "r2 h2 w2 c"]: ...

    def push(self, frames: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Hand in raw frames and take the edited frames that are ready; the memory pushed may be used again.

        Raises:
            InputError: If the frames are not uint8 of the form `r h w 3`, or the stream has ended.
        """
        pixels = _as_tensor(frames)
        self._is_torch = isinstance(frames, Tensor)
        if not pixels.shape[0] and self._stream is None:
            return frames[:0]
        stream = self._opened(pixels.shape[2], pixels.shape[1])
        width, height = stream.settings.width_px, stream.settings.height_px
        self._crop = centre_crop(pixels.shape[2], pixels.shape[1], width, height)
        edited = self._step(stream, resize_and_crop(pixels, height, width))
        stream.keep_waiting()
        return edited.to(frames.device) if isinstance(frames, Tensor) else edited.numpy()

    def set_prompt(self, prompt: str | Prompt) -> None:
        """Change the instruction; it takes effect with the next chunk.

        Raises:
            InputError: If the instruction is empty, too long or not readable.
        """
        self._prompt = self._editor.encode_prompt(prompt) if isinstance(prompt, str) else prompt
        if self._stream is not None:
            self._stream.prompt = self._prompt

    def finish(self) -> np.ndarray | Tensor:
        """Say that no more frames come and take the rest, in the form of the frames pushed last."""
        if self._stream is None:
            edited = torch.empty(0, 0, 0, 3, dtype=torch.uint8)
        else:
            edited = self._step(self._stream, None)
        return edited if self._is_torch else edited.numpy()

    def snapshot(self) -> StreamSnapshot | None:
        """A copy of what the stream remembers; None before the first frame.

        Frames that no chunk has taken yet (`num_waiting`) are not part of it.
        """
        if self._stream is None:
            return None
        settings = self._stream.settings
        return StreamSnapshot(
            self.memories.clone(),
            self._stream.next_chunk,
            self._prompt,
            (settings.width_px, settings.height_px),
        )

    def restore(self, snapshot: StreamSnapshot) -> None:
        """Go back to an earlier moment of this stream, or take over that of another one of the same size.

        Waiting frames are dropped; a finished stream takes frames again.

        Raises:
            InputError: If the snapshot was taken at another size, or the stream was closed.
        """
        if self._size not in (None, snapshot.size):
            raise InputError(
                f"got a snapshot of size {snapshot.size}, expected {self._size} as the stream has"
            )
        self._size = snapshot.size
        stream = self._opened(*snapshot.size)
        stream.restore(snapshot.memories.clone(), snapshot.next_chunk)
        self.set_prompt(snapshot.prompt)

    def close(self) -> None:
        """Free the memories and drop what was not finished; the stream takes no more frames."""
        self._stream = self._overlapped = None
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, source_width: int, source_height: int) -> EditStream:
        if self._is_closed:
            raise InputError("the stream was closed and takes no more frames; open another one")
        if self._stream is None:
            self._size = self._size or self._editor.fit(source_width, source_height)
            self._editor.check_room(self._size)
            settings = StreamSettings(
                width_px=self._size[0],
                height_px=self._size[1],
                seed=self._options.seed,
                sigmas=self._options.sigmas,
                commit=self._options.commit,
                plan=self._editor.defaults.plan,
            )
            self._stream = EditStream(settings, self._editor.pipeline.vae.grid, self._prompt)
            if self._lanes is not None:
                self._overlapped = OverlappedEdit(self._editor.pipeline, self._stream, self._lanes)
        return self._stream

    def _step(self, stream: EditStream, frames: Tensor | None) -> Tensor:
        if self._overlapped is None:
            return self._editor.pipeline.step(stream, frames)
        return self._overlapped.step(frames)


def _as_tensor(frames: np.ndarray | Tensor) -> Tensor:
    is_array = isinstance(frames, np.ndarray)
    if not is_array and not isinstance(frames, Tensor):
        raise InputError(f"got {type(frames).__name__} as frames, expected a numpy array or a torch tensor")
    if str(frames.dtype).removeprefix("torch.") != "uint8" or frames.ndim != 4 or frames.shape[-1] != 3:
        raise InputError(
            f"got frames {frames.dtype} of shape {tuple(frames.shape)}, expected uint8 of shape (r, h, w, 3)"
        )
    if frames.shape[0] and not (frames.shape[1] and frames.shape[2]):
        raise InputError(f"got frames of shape {tuple(frames.shape)}, expected at least one pixel")
    if is_array:
        # torch warns about arrays that it could, but does not, write into
        return torch.from_numpy(frames if frames.flags.writeable else frames.copy())
    return frames.detach().cpu()
