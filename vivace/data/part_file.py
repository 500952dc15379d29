"""Names of unfinished outputs, the checks before writing, and write errors as sentences; knows no codec."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.error import FFmpegError

from vivace.core.errors import InputError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class PartFile:
    """A file that grows under `NAME.part` and takes its final name in one step.

    Raises:
        InputError: If the folder is missing or not writable, the name is a folder, the output is one of the
            inputs, or it exists and may not be overwritten.
    """

    def __init__(self, path: Path, *, inputs: tuple[Path, ...], is_overwritten: bool) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self.finished = path.with_name(path.name + ".finished.part")
        refuse_inputs((path, self.part, self.finished), inputs)
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; give a file name, or {path}/ for images")
        if path.exists() and not is_overwritten:
            raise InputError(f"{path} exists already; choose another name or allow overwriting")
        require_writable_folder(path)

    def commit(self, written: Path) -> Path:
        """Give `written` the final name and remove what is left of the unfinished file."""
        with sentences(self.path):
            os.replace(written, self.path)
        self.discard()
        return self.path

    def discard(self) -> None:
        """Remove the unfinished files; nothing was or is under the final name."""
        self.part.unlink(missing_ok=True)
        self.finished.unlink(missing_ok=True)


class PlaylistFile:
    """A playlist that is played while it grows, so it has its name from the start, with numbered segments.

    Raises:
        InputError: As `PartFile`.
    """

    def __init__(self, path: Path, *, inputs: tuple[Path, ...], is_overwritten: bool) -> None:
        self.path = path
        self.part = self.finished = path
        refuse_inputs((path,), inputs)
        if path.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; give a file name like {path}/live.m3u8")
        if path.exists() and not is_overwritten:
            raise InputError(f"{path} exists already; choose another name or allow overwriting")
        require_writable_folder(path)
        if path.exists():
            # segments of the run before would stay behind a shorter one
            self.discard()

    @property
    def segments(self) -> str:
        """The pattern that FFmpeg numbers segments by; it takes other percent signs as they are."""
        return f"{self.path.with_name(self.path.stem)}_%05d.ts"

    def commit(self, written: Path) -> Path:
        """The playlist is complete; it has its name already."""
        return written

    def discard(self) -> None:
        """Remove the playlist and its segments."""
        self.path.unlink(missing_ok=True)
        name = re.compile(re.escape(self.path.stem) + r"_\d{5}\.ts(\.tmp)?")
        for segment in self.path.parent.iterdir():
            if name.fullmatch(segment.name):
                segment.unlink(missing_ok=True)


def refuse_inputs(outputs: tuple[Path, ...], inputs: tuple[Path, ...]) -> None:
    """Make sure that no output is an input, also by another name, before anything is opened.

    Raises:
        InputError: If one is.
    """
    for output in outputs:
        for source in inputs:
            if output.exists() and source.exists() and output.samefile(source):
                raise InputError(f"output {output} is the input {source}; choose another name for the output")


def require_writable_folder(path: Path) -> None:
    """Make sure that a file can be created beside `path`.

    Raises:
        InputError: If its folder is missing or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {folder}; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: the folder {folder} is not writable; choose another")


@contextmanager
def sentences(path: Path | str, kept: str = "") -> Iterator[None]:
    """Turn failures to write `path` into one sentence; `kept` says what remains of the work.

    Raises:
        InputError: For a full disk, missing permission and any other failure of the file system or network.
    """
    try:
        yield
    except (FFmpegError, OSError) as error:
        if error.errno in FULL_DISK:
            sentence = f"cannot write {path}: the disk is full or a size limit was reached; free some space"
        elif error.errno in NOT_ALLOWED:
            sentence = f"cannot write {path}: permission denied; choose another folder"
        else:
            sentence = f"cannot write {path}: {error.strerror or error}"
        raise InputError(f"{sentence}{kept}") from error
