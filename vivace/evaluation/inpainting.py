"""A classical inpainter that is told the place, to hold removals against; owns no masks and no scores."""

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from vivace.evaluation.opencv import require_opencv

RADIUS_PX = 5


def inpainted(frames: UInt8[Tensor, "r h w c"], region: Bool[Tensor, "r h w"]) -> UInt8[Tensor, "r h w c"]:
    """The raw frames with the region, and a pixel around it, filled from its rim, each frame by itself.

    Raises:
        InputError: If OpenCV is not installed.

    Source: Telea, An Image Inpainting Technique Based on the Fast Marching Method, 2004; radius 5 px.
    """
    require_opencv("inpainting")
    import cv2  # pyright: ignore[reportMissingImports]

    # the rim of a drawn thing is blended with what is behind it, so one pixel more is not known
    masks = [cv2.dilate(x, np.ones((3, 3), np.uint8)) for x in (region.cpu().numpy() * 255).astype(np.uint8)]
    filled = [
        cv2.inpaint(np.ascontiguousarray(frame), mask, RADIUS_PX, cv2.INPAINT_TELEA)
        for frame, mask in zip(frames.cpu().numpy(), masks, strict=True)
    ]
    return torch.from_numpy(np.stack(filled))
