"""Frame numbers drawn into pictures, so that a frame is known again after codecs; for measuring only."""

import numpy as np
from jaxtyping import Shaped, UInt8

COLUMNS, ROWS = 8, 2
NUM_BITS = COLUMNS * ROWS
# Numbers take 12 bits and start again; the other 4 tell a damaged mark.
NUM_NUMBERS = 1 << (NUM_BITS - 4)
DARK, LIGHT = 16, 235


def mark(pixels: UInt8[np.ndarray, "h w 3"], number: int) -> UInt8[np.ndarray, "h w 3"]:
    """A copy with `number` in its upper part, modulo `NUM_NUMBERS`."""
    marked = pixels.copy()
    code = _code(number % NUM_NUMBERS)
    for index, cell in enumerate(_cells(*pixels.shape[:2])):
        marked[cell] = LIGHT if code >> index & 1 else DARK
    return marked


def read_mark(luma: Shaped[np.ndarray, "h w *c"]) -> int | None:
    """The number in a picture, grey or coloured; None where it cannot be read."""
    code = 0
    for index, (rows, columns) in enumerate(_cells(*luma.shape[:2])):
        # borders of a cell bleed into each other in a codec
        inner = luma[_middle(rows), _middle(columns)]
        code |= int(inner.mean() > (DARK + LIGHT) / 2) << index
    number = code % NUM_NUMBERS
    return number if _code(number) == code else None


def _code(number: int) -> int:
    check = (number ^ number >> 4 ^ number >> 8 ^ 0b1010) & 0b1111
    return check << (NUM_BITS - 4) | number


def _cells(height: int, width: int) -> list[tuple[slice, slice]]:
    high, wide = max(1, height // 8), max(1, width // COLUMNS)
    return [
        (slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide))
        for row in range(ROWS)
        for column in range(COLUMNS)
    ]


def _middle(span: slice) -> slice:
    quarter = (span.stop - span.start) // 4
    return slice(span.start + quarter, span.stop - quarter)
