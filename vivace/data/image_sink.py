"""Writes every frame as an image file of its own."""

import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from vivace.core.errors import InputError
from vivace.data.frame_timing import TimedFrame
from vivace.data.part_file import refuse_inputs, require_writable_folder, sentences
from vivace.data.sink_options import SinkOptions
from vivace.data.video_source import VideoSource

FOLDER_PATTERN = "frame_%05d.png"
# Fast rather than small: the level changes the size of a PNG by a few percent only.
PNG_LEVEL = 1
LOSSY_QUALITY = 95


class ImageSink:
    """An image sequence; see `VideoSink` in video_sink.py for the contract.

    Images gather in a folder ending in .part and move to their place at the end, where they replace an older
    sequence of the same pattern. Numbers count from 1; times are not stored.
    """

    def __init__(
        self, name: str, *, options: SinkOptions, source: VideoSource | None, inputs: tuple[Path, ...]
    ) -> None:
        self.num_frames = 0
        self.padding_px: tuple[int, int] = (0, 0)
        self.audio_actions = ("left out",) * (len(source.audio_streams) if source else 0)
        self._source = source
        self._is_open = True
        if name.endswith(("/", "\\")):
            self._folder, self._pattern = Path(name), FOLDER_PATTERN
            self._part = self._folder.with_name(self._folder.name + ".part")
            self._result = self._folder
            require_writable_folder(self._folder)
        else:
            self._result = Path(name)
            self._folder, self._pattern = self._result.parent, self._result.name
            self._part = self._folder / (re.sub(r"%0?\d*d", "", self._pattern) + ".part")
            require_writable_folder(self._folder / self._pattern)
        refuse_inputs((self._folder, self._part, *self._older()), inputs)
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"cannot write images into {self._folder}: it is a file; choose another name")
        if self._older() and not options.is_overwritten:
            raise InputError(
                f"images of {self._result} exist already; choose another name or allow overwriting"
            )
        with sentences(self._result):
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir()

    def write(self, frame: TimedFrame) -> None:
        """Write one frame as the next image."""
        name = self._pattern % (self.num_frames + 1)
        with sentences(self._result):
            Image.fromarray(frame.pixels).save(
                self._part / name, compress_level=PNG_LEVEL, quality=LOSSY_QUALITY
            )
        if self._source:
            # Nobody else takes the sound, and it must not pile up.
            self._source.take_audio()
        self.num_frames += 1

    def close(self, *, finalise: bool = True) -> Path | None:
        """Move the images to their place; None if there are none or `finalise` is false."""
        if not self._is_open:
            return None
        if not finalise or not self.num_frames:
            self.abort()
            return None
        self._is_open = False
        with sentences(self._result):
            self._folder.mkdir(exist_ok=True)
            for older in self._older():
                older.unlink()
            for image in sorted(self._part.iterdir()):
                os.replace(image, self._folder / image.name)
            self._part.rmdir()
        return self._result

    def abort(self) -> None:
        """Stop and remove what was written."""
        if self._is_open:
            self._is_open = False
            shutil.rmtree(self._part, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abort()

    def _older(self) -> list[Path]:
        before, after = re.split(r"%0?\d*d", self._pattern, maxsplit=1)
        numbered = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        if not self._folder.is_dir():
            return []
        return [path for path in self._folder.iterdir() if numbered.fullmatch(path.name)]
