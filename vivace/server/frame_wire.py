"""Picture bytes on a WebSocket: a fixed header before JPEG or raw RGB; decodes and encodes within limits."""

import io
import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from vivace.server.protocol import ProtocolError

VERSION = 1
JPEG, RAW_RGB = 1, 2
# version, kind, width, height, reserved, frame index, prompt id, captured us, server us
HEADER = struct.Struct("!BBHHHIIQI")
JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True, slots=True)
class WireFrame:
    """A picture with what is known about it.

    Attributes:
        pixels: RGB.
        index: The client's count of raw frames, or the count of edited frames.
        captured_us: Microseconds of the client's own clock when the picture was taken; the edited frame
            carries it back, so the client reads the delay without comparing clocks.
        prompt_id: Instruction that the edited frame follows; 0 from a client.
        server_us: Microseconds between receipt and departure; 0 from a client.
    """

    pixels: UInt8[np.ndarray, "h w c"]
    index: int
    captured_us: int
    prompt_id: int = 0
    server_us: int = 0


def pack_frame(frame: WireFrame, kind: Literal[1, 2] = JPEG, *, quality: int = JPEG_QUALITY) -> bytes:
    """Header and picture bytes."""
    height, width = frame.pixels.shape[:2]
    head = HEADER.pack(
        VERSION,
        kind,
        width,
        height,
        0,
        frame.index & 0xFFFFFFFF,
        frame.prompt_id & 0xFFFFFFFF,
        frame.captured_us,
        min(frame.server_us, 0xFFFFFFFF),
    )
    if kind == RAW_RGB:
        return head + frame.pixels.tobytes()
    return head + encode_jpeg(frame.pixels, quality)


def parse_frame(data: bytes, *, max_pixels: int) -> WireFrame:
    """Read header and picture.

    Raises:
        ProtocolError: If the bytes are cut off, of an unknown kind or version, larger than allowed or
            damaged, or the picture has not the size that the header names.
    """
    if len(data) < HEADER.size:
        raise ProtocolError(
            "bad_frame", f"got a frame of {len(data)} bytes, expected a header of {HEADER.size} first"
        )
    version, kind, width, height, _, index, prompt_id, captured_us, server_us = HEADER.unpack_from(data)
    if version != VERSION:
        raise ProtocolError("unknown_version", f"got a frame of version {version}, expected {VERSION}")
    if not 0 < width * height <= max_pixels:
        raise ProtocolError(
            "too_large", f"got a frame of {width}x{height}, expected 1 to {max_pixels} pixels in all"
        )
    body = memoryview(data)[HEADER.size :]
    if kind == RAW_RGB:
        if len(body) != width * height * 3:
            raise ProtocolError(
                "bad_frame",
                f"got {len(body)} bytes of RGB, expected {width * height * 3} for {width}x{height}",
            )
        pixels = np.frombuffer(body, np.uint8).reshape(height, width, 3)
    elif kind == JPEG:
        pixels = decode_jpeg(body, width, height)
    else:
        raise ProtocolError(
            "bad_frame", f"got a frame of kind {kind}, expected {JPEG} (JPEG) or {RAW_RGB} (RGB)"
        )
    return WireFrame(
        pixels=pixels, index=index, captured_us=captured_us, prompt_id=prompt_id, server_us=server_us
    )


def encode_jpeg(pixels: UInt8[np.ndarray, "h w c"], quality: int = JPEG_QUALITY) -> bytes:
    """A JPEG file."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=quality)
    return target.getvalue()


def decode_jpeg(data: bytes | memoryview, width: int, height: int) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of a JPEG of exactly this size; nothing is decoded before the size was checked.

    Raises:
        ProtocolError: If it is no JPEG, damaged or of another size.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.size != (width, height):
                raise ProtocolError(
                    "bad_frame",
                    f"got a JPEG of {image.size[0]}x{image.size[1]}, but its header says {width}x{height}",
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ProtocolError("bad_frame", "got a damaged JPEG; send a complete one") from None
