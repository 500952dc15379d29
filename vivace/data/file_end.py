"""Whether a video file on disk is shorter than its own header promises; understands MP4, Matroska and AVI."""

from pathlib import Path
from typing import BinaryIO

EBML_ID = b"\x1a\x45\xdf\xa3"
SEGMENT_ID = b"\x18\x53\x80\x67"
# Top-level boxes that an MP4 or MOV file can begin with.
MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof")


def num_missing_bytes(path: Path) -> int:
    """How many bytes the file lacks at its end; 0 if it is whole or of a kind that does not say."""
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF":
            # Parts of an AVI beyond 1 GB follow as further chunks; the first one is checked.
            return max(0, 8 + int.from_bytes(start[4:8], "little") - num_bytes)
        if start[:4] == EBML_ID:
            return max(0, _matroska_end(file) - num_bytes)
        if start[4:8] in MP4_FIRST_BOXES:
            return max(0, _mp4_end(file, num_bytes) - num_bytes)
    return 0


def _mp4_end(file: BinaryIO, num_bytes: int) -> int:
    position = 0
    while position < num_bytes:
        file.seek(position)
        header = file.read(16)
        if not header[4:8].isalnum():
            # Some writers leave a few bytes behind the last box.
            return num_bytes
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size < 8:
            # The last box may leave its size open (0); anything else is not a box.
            return num_bytes
        position += size
    return position


def _matroska_end(file: BinaryIO) -> int:
    file.seek(len(EBML_ID))
    header_size = _matroska_number(file)
    if header_size is None:
        return 0
    file.seek(header_size, 1)
    if file.read(4) != SEGMENT_ID:
        return 0
    segment_size = _matroska_number(file)
    # A recording that was never finished leaves its size open.
    return 0 if segment_size is None else file.tell() + segment_size


def _matroska_number(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    # The position of the leading one bit is the number of bytes; all other bits one means unknown.
    num_bytes = 9 - first[0].bit_length()
    rest = file.read(num_bytes - 1)
    mask = (1 << (8 - num_bytes)) - 1
    value = int.from_bytes(bytes([first[0] & mask]) + rest, "big")
    return None if value == (1 << (7 * num_bytes)) - 1 else value
