"""Puts frames beside each other: two as one picture, many as a labelled PNG."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vivace.core.errors import InputError
from vivace.data.part_file import require_writable_folder, sentences

GAP_PX = 4
STRIP_PX = 22
FONT_PX = 14
PAPER, INK = (18, 18, 18), (235, 235, 235)


def side_by_side(
    left: UInt8[np.ndarray, "*r h w_left c"], right: UInt8[np.ndarray, "*r h w_right c"]
) -> UInt8[np.ndarray, "*r h w c"]:
    """Two pictures, or two clips of equal length, as one; the heights must agree.

    Raises:
        InputError: If height, number of frames or channels differ.
    """
    if left.shape[:-2] != right.shape[:-2] or left.shape[-1] != right.shape[-1]:
        raise InputError(
            f"cannot put shapes {left.shape} and {right.shape} side by side; only the widths may differ"
        )
    return np.concatenate([left, right], axis=-2)


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "h w c"]]],
    labels: Sequence[str],
    path: Path,
    *,
    cell_width_px: int = 240,
) -> Path:
    """Write a PNG with one row of frames per label, the label in a strip above its row.

    Frames are scaled to `cell_width_px`, keeping their aspect; rows may differ in length and shape.

    Raises:
        InputError: If there are no frames, labels and rows differ in number, or the file cannot be written.
    """
    if len(rows) != len(labels) or not rows or not all(len(row) for row in rows):
        raise InputError(
            f"got {len(rows)} rows with {[len(row) for row in rows]} frames and {len(labels)} labels, "
            "expected one label for each row and at least one frame in each"
        )
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot write a contact sheet to {path}; expected a name ending in .png")
    require_writable_folder(path)
    cells = [[_scaled(frame, cell_width_px) for frame in row] for row in rows]
    heights = [STRIP_PX + max(cell.height for cell in row) + GAP_PX for row in cells]
    num_columns = max(len(row) for row in cells)
    sheet = Image.new("RGB", (num_columns * (cell_width_px + GAP_PX) + GAP_PX, sum(heights) + GAP_PX), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    top_px = 0
    for row, label, height_px in zip(cells, labels, heights, strict=True):
        draw.text((GAP_PX, top_px + (STRIP_PX - FONT_PX) // 2), _fitted(label, font, sheet.width), INK, font)
        for column, cell in enumerate(row):
            sheet.paste(cell, (GAP_PX + column * (cell_width_px + GAP_PX), top_px + STRIP_PX))
        top_px += height_px
    encoded = io.BytesIO()
    sheet.save(encoded, format="PNG")
    part = path.with_name(path.name + ".part")
    with sentences(path):
        part.write_bytes(encoded.getvalue())
        os.replace(part, path)
    return path


def _scaled(frame: UInt8[np.ndarray, "h w c"], width_px: int) -> Image.Image:
    height_px = max(1, round(frame.shape[0] * width_px / frame.shape[1]))
    return Image.fromarray(np.ascontiguousarray(frame)).resize(
        (width_px, height_px), Image.Resampling.LANCZOS
    )


def _fitted(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    text = " ".join(label.split())
    while text and font.getlength(text) > width_px - 2 * GAP_PX:
        text = text[:-4].rstrip() + "..." if len(text) > 4 else ""
    return text
