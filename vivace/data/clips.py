"""Training clips: a folder decoded once into uint8 memory, and samples of it as a pure function of a seed.

Owns which pictures a train step sees; edits of them and losses live elsewhere.
"""

import json
import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vivace.core.errors import InputError
from vivace.core.shapes import Video

MANIFEST_NAME = "manifest.json"
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi"})
STILL_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
Kind = Literal["clip", "still"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSamplingConfig:
    """How raw frames are drawn; probabilities in [0, 1].

    Attributes:
        still_share: Samples that come from stills with a synthetic camera, where there are both kinds.
        exact_share: Clip samples cut at pixel borders, not resampled, so that these stay sharp.
        double_speed_share: Clip samples with every second frame.
        reversed_share: Clip samples played backwards.
        moving_object_share: Still samples with a textured object moving across.
        color_jitter: Largest relative change of brightness, contrast and saturation.
        zoom: Smallest and largest number of source pixels per picture pixel.
    """

    still_share: float = 0.25
    exact_share: float = 0.5
    double_speed_share: float = 0.3
    reversed_share: float = 0.15
    moving_object_share: float = 0.4
    color_jitter: float = 0.2
    zoom: tuple[float, float] = (0.8, 1.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredClip:
    """Where the pictures of one file lie in a store's memory; a still has one frame."""

    name: str
    kind: Kind
    start: int
    num_frames: int
    height: int
    width: int

    @property
    def num_bytes(self) -> int:
        """Bytes of all its pictures."""
        return self.num_frames * self.height * self.width * 3


class ClipStore:
    """Decoded clips and stills in one uint8 tensor; `sample` draws batches from it."""

    def __init__(
        self,
        pictures: Sequence[tuple[str, Kind, UInt8[np.ndarray, "r h w c"]]],
        device: torch.device | str = "cpu",
        sampling: ClipSamplingConfig | None = None,
    ) -> None:
        """Take (name, kind, frames) of every file.

        Raises:
            InputError: If there is nothing to store.
        """
        if not pictures:
            raise InputError("got no clips to train on, expected at least one; look at the data folder")
        self.sampling = ClipSamplingConfig() if sampling is None else sampling
        entries: list[StoredClip] = []
        start = 0
        for name, kind, frames in pictures:
            num_frames, height, width, _ = frames.shape
            entry = StoredClip(
                name=name, kind=kind, start=start, num_frames=num_frames, height=height, width=width
            )
            entries.append(entry)
            start += entry.num_bytes
        self.entries = tuple(entries)
        self._memory = torch.empty(start, dtype=torch.uint8, device=device)
        for entry, (_, _, frames) in zip(entries, pictures):
            flat = torch.from_numpy(np.ascontiguousarray(frames)).view(-1)
            self._memory[entry.start : entry.start + entry.num_bytes] = flat.to(device)
        self._clips = [entry for entry in entries if entry.kind == "clip"]
        self._stills = [entry for entry in entries if entry.kind == "still"]
        # The square root keeps one long film from crowding out many short clips.
        self._clip_weights = [math.sqrt(entry.num_frames) for entry in self._clips]

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device | str = "cpu",
        *,
        num_threads: int = 16,
        sampling: ClipSamplingConfig | None = None,
    ) -> "ClipStore":
        """Decode every file that `manifest.json` lists (without one: every video and picture in the folder).

        Raises:
            InputError: If the folder or a listed file is missing, or nothing could be decoded.
        """
        listed = list_files(folder)
        with ThreadPoolExecutor(num_threads) as pool:
            decoded = list(pool.map(lambda item: _decode(*item), listed))
        names = [path.relative_to(folder).as_posix() for path, _ in listed]
        return cls([(name, kind, x) for name, (_, kind), x in zip(names, listed, decoded)], device, sampling)

    @property
    def device(self) -> torch.device:
        """Where the pictures are and samples are made."""
        return self._memory.device

    def frames(self, entry: StoredClip) -> UInt8[Tensor, "r h w c"]:
        """All pictures of one file, without a copy."""
        flat = self._memory[entry.start : entry.start + entry.num_bytes]
        return flat.view(entry.num_frames, entry.height, entry.width, 3)

    def sample(self, seed: int, batch: int, num_raw_frames: int, height: int, width: int) -> Video:
        """A batch of clips in [0, 1], sRGB, fp32; the same seed gives the same batch."""
        draw = random.Random(seed)
        clips = [self._sample_one(draw, num_raw_frames, height, width) for _ in range(batch)]
        return torch.stack(clips)

    def _sample_one(self, draw: random.Random, num_frames: int, height: int, width: int) -> Tensor:
        config = self.sampling
        if not self._clips or (self._stills and draw.random() < config.still_share):
            clip = self._still_sample(draw, num_frames, height, width)
        else:
            clip = self._clip_sample(draw, num_frames, height, width)
        if draw.random() < 0.5:
            clip = clip.flip(-1)
        return _jittered(clip, draw, config.color_jitter).clamp(0, 1)

    def _clip_sample(self, draw: random.Random, num_frames: int, height: int, width: int) -> Tensor:
        config = self.sampling
        entry = draw.choices(self._clips, self._clip_weights)[0]
        span = num_frames - 1
        stride = 2 if draw.random() < config.double_speed_share and 2 * span < entry.num_frames else 1
        start = draw.randint(0, max(0, entry.num_frames - 1 - span * stride))
        indices = [_bounce(start + i * stride, entry.num_frames) for i in range(num_frames)]
        if draw.random() < config.reversed_share:
            indices.reverse()
        largest = min(entry.height / height, entry.width / width)
        zoom = 1.0 if draw.random() < config.exact_share else draw.uniform(*config.zoom)
        zoom = min(zoom, largest)
        rows, columns = min(entry.height, round(height * zoom)), min(entry.width, round(width * zoom))
        top, left = draw.randint(0, entry.height - rows), draw.randint(0, entry.width - columns)
        frames = self.frames(entry)
        if indices == list(range(indices[0], indices[0] + num_frames)):
            cut = frames[indices[0] : indices[0] + num_frames, top : top + rows, left : left + columns]
        else:
            cut = torch.stack([frames[i, top : top + rows, left : left + columns] for i in indices])
        x = rearrange(cut, "r h w c -> r c h w").float() / 255
        if (rows, columns) != (height, width):
            x = F.interpolate(x, size=(height, width), mode="bicubic", antialias=True)
        return rearrange(x, "r c h w -> c r h w")

    def _still_sample(self, draw: random.Random, num_frames: int, height: int, width: int) -> Tensor:
        entry = draw.choice(self._stills)
        picture = rearrange(self.frames(entry), "r h w c -> r c h w").float() / 255
        x = _filmed(picture, draw, num_frames, height, width, self.sampling.zoom)
        if draw.random() < self.sampling.moving_object_share:
            other = draw.choice(self._stills)
            texture = rearrange(self.frames(other), "r h w c -> r c h w").float() / 255
            mask = _moving_blob(draw, num_frames, height, width, self.device)
            x = torch.lerp(x, _filmed(texture, draw, num_frames, height, width, self.sampling.zoom), mask)
        return rearrange(x, "r c h w -> c r h w")


def list_files(folder: Path) -> list[tuple[Path, Kind]]:
    """Files and their kinds, in a fixed order: what the manifest lists, else all videos and pictures.

    Raises:
        InputError: If the folder or a listed file is missing, or there are none.
    """
    manifest = folder / MANIFEST_NAME
    stills: list[Path] = []
    if manifest.is_file():
        items = json.loads(manifest.read_text(encoding="utf-8"))
        paths = [folder / item["file"] for item in items]
        stills = [path for path, item in zip(paths, items) if item["kind"] == "still"]
    else:
        paths = sorted(folder.rglob("*")) if folder.is_dir() else []
        stills = [path for path in paths if path.suffix.lower() in STILL_SUFFIXES]
        paths = stills + [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    is_still = frozenset(stills)
    listed: list[tuple[Path, Kind]] = [(path, "still" if path in is_still else "clip") for path in paths]
    missing = [path for path, _ in listed if not path.is_file()]
    if not listed or missing:
        raise InputError(
            f"got {missing[0] if missing else folder}, which holds no footage; fill the data folder"
        )
    return listed


def _decode(path: Path, kind: Kind) -> UInt8[np.ndarray, "r h w c"]:
    if kind == "still":
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))[None]
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if not frames:
        raise InputError(f"{path} holds no frames; remove it from the data folder")
    return np.stack(frames)


def _bounce(index: int, length: int) -> int:
    """Play forwards and backwards for ever, for clips shorter than a sample."""
    if length == 1:
        return 0
    index %= 2 * (length - 1)
    return min(index, 2 * (length - 1) - index)


def _filmed(
    picture: Float[Tensor, "1 c h w"],
    draw: random.Random,
    num_frames: int,
    height: int,
    width: int,
    zoom: tuple[float, float],
) -> Float[Tensor, "r c h2 w2"]:
    """A still as a smoothly panning, zooming and turning camera sees it; some cameras stand still."""
    source_height, source_width = picture.shape[-2:]
    scale = min(draw.uniform(*zoom), source_height / height, source_width / width)
    speed = 0.0 if draw.random() < 0.15 else draw.uniform(0.2, 5.0)
    direction, bend = draw.uniform(0, math.tau), draw.uniform(-0.08, 0.08)
    turn = draw.choice((0.0, draw.uniform(-0.012, 0.012)))
    grow = draw.choice((0.0, draw.uniform(-0.012, 0.012)))
    x = draw.uniform(0.5 * width * scale, max(0.5 * width * scale, source_width - 0.5 * width * scale))
    y = draw.uniform(0.5 * height * scale, max(0.5 * height * scale, source_height - 0.5 * height * scale))
    angle, thetas = draw.uniform(-0.05, 0.05) if turn else 0.0, []
    for _ in range(num_frames):
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        # Rows map the output square [-1, 1]^2 to the source's, which has its own aspect.
        thetas.append((
            (cosine * width / source_width, -sine * height / source_width, 2 * x / source_width - 1),
            (sine * width / source_height, cosine * height / source_height, 2 * y / source_height - 1),
        ))  # fmt: skip
        x, y = x + speed * math.cos(direction), y + speed * math.sin(direction)
        direction, angle, scale = direction + bend, angle + turn, scale * math.exp(grow)
    theta = torch.tensor(thetas, device=picture.device)
    grid = F.affine_grid(theta, [num_frames, 3, height, width], align_corners=False)
    many = picture.expand(num_frames, -1, -1, -1)
    return F.grid_sample(many, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def _moving_blob(
    draw: random.Random, num_frames: int, height: int, width: int, device: torch.device
) -> Float[Tensor, "r 1 h w"]:
    """Opacity of an ellipse or a box with sharp edges that crosses the picture."""
    rows = torch.arange(height, device=device).view(1, 1, height, 1)
    columns = torch.arange(width, device=device).view(1, 1, 1, width)
    time = torch.arange(num_frames, device=device).view(num_frames, 1, 1, 1)
    x = draw.uniform(0, width) + time * draw.uniform(-6, 6)
    y = draw.uniform(0, height) + time * draw.uniform(-4, 4)
    radius_x, radius_y = draw.uniform(0.08, 0.35) * width, draw.uniform(0.08, 0.35) * height
    power = draw.choice((2.0, 8.0))
    distance = ((columns - x).abs() / radius_x).pow(power) + ((rows - y).abs() / radius_y).pow(power)
    return ((1 - distance.pow(1 / power)) * min(radius_x, radius_y)).clamp(0, 1)


def _jittered(clip: Float[Tensor, "c r h w"], draw: random.Random, amount: float) -> Tensor:
    """Brightness, contrast and saturation changed alike in all frames."""
    brightness, contrast, saturation = (1 + draw.uniform(-amount, amount) for _ in range(3))
    if amount == 0 or draw.random() < 0.4:
        return clip
    gray = clip.mean(dim=0, keepdim=True)
    clip = torch.lerp(gray, clip, saturation) * brightness
    mean = clip.mean()
    return (clip - mean) * contrast + mean
