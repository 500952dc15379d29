"""Everything an edit writes: the result, the side-by-side video and the contact sheet."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import UInt8

from vivace.cli.edit_job import EditJob
from vivace.cli.even_samples import EvenSamples
from vivace.core.errors import InputError
from vivace.data.contact_sheet import contact_sheet, side_by_side
from vivace.data.fit import resize_and_crop
from vivace.data.frame_timing import TimedFrame
from vivace.data.output_format import parse_output
from vivace.data.part_file import refuse_inputs, require_writable_folder
from vivace.data.sink_options import SinkOptions
from vivace.data.video_sink import VideoSink, open_sink
from vivace.data.video_source import VideoSource

NUM_SHEET_COLUMNS = 6

Pixels = UInt8[np.ndarray, "h w c"]


def check_outputs(job: EditJob) -> None:
    """Find what is wrong with the outputs before anything is read or loaded.

    Raises:
        InputError: If an ending or codec is unknown, a folder is missing, or an output is the input.
    """
    for name in (job.output, job.compare):
        if name is not None:
            parse_output(name, job.codec)
    sheet, source = job.contact_sheet, Path(job.input)
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise InputError(f"cannot write a contact sheet to {sheet}; expected a name ending in .png")
        require_writable_folder(sheet)
        refuse_inputs((sheet,), (source,) if source.exists() else ())


class EditOutputs:
    """The open outputs of one edit; leaving the block finishes or removes them as `VideoSink` says.

    Only the result carries the source's sound, because a source hands its sound out once.
    """

    def __init__(
        self, job: EditJob, source: VideoSource, size: tuple[int, int], fps: Fraction | None
    ) -> None:
        """`size` is width and height of the edited frames, `fps` the rate they were resampled to, if any."""
        self._job = job
        self._source = source
        self._size = size
        self._fps = fps
        self._stack = ExitStack()
        self._result: VideoSink | None = None
        self._compare: VideoSink | None = None
        self._samples: EvenSamples[tuple[Pixels, Pixels]] = EvenSamples(NUM_SHEET_COLUMNS)

    @property
    def audio_actions(self) -> tuple[str, ...]:
        """What happens to each sound track of the source."""
        return self._result.audio_actions if self._result else ()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._result = opened.enter_context(self._open(self._job.output, self._size[0], self._source))
            if self._job.compare is not None:
                self._compare = opened.enter_context(self._open(self._job.compare, 2 * self._size[0], None))
            self._stack = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, source: TimedFrame, edited: TimedFrame) -> None:
        """Take the next edited frame and the source frame it came from.

        Raises:
            InputError: If the disk is full or an output cannot be written.
        """
        assert self._result is not None
        self._result.write(edited)
        is_sampled = self._job.contact_sheet is not None and self._samples.wants_next()
        if self._compare is None and not is_sampled:
            self._samples.add(None)
            return
        fitted = self._fitted(source.pixels)
        if self._compare is not None:
            self._compare.write(replace(edited, pixels=side_by_side(fitted, edited.pixels)))
        self._samples.add((fitted, edited.pixels.copy()) if is_sampled else None)

    def write_sheet(self, prompts: Sequence[str]) -> None:
        """Write the contact sheet if one was asked for and there are frames; `prompts` go into its label.

        Raises:
            InputError: If it cannot be written.
        """
        pairs = self._samples.take()
        if self._job.contact_sheet is not None and pairs:
            before, after = zip(*pairs)
            labels = ("source", ", then: ".join(prompts))
            contact_sheet((before, after), labels, self._job.contact_sheet)

    def _open(self, name: str, width: int, sound: VideoSource | None) -> VideoSink:
        path = self._source.path
        return open_sink(
            name,
            width_px=width,
            height_px=self._size[1],
            fps=self._fps or self._source.info.fps,
            time_base=self._source.time_base if self._fps is None else 1 / self._fps,
            options=SinkOptions(codec=self._job.codec, quality=self._job.quality),
            source=sound,
            inputs=() if path is None else (path,),
        )

    def _fitted(self, pixels: Pixels) -> Pixels:
        width, height = self._size
        return resize_and_crop(torch.from_numpy(pixels)[None], height, width)[0].numpy()
