"""Makes the bundled editor's footage from the tables: cuts, encodes and lists clips and stills.

Owns cutting, encoding, the byte budget and the manifest; what training does with a clip it does not own.
"""

import argparse
import io
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageOps

from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.recipes.footage_clips import CLIPS, EVALUATION_CLIPS, ClipSource
from vivace.recipes.footage_packages import fetch, read_package_file
from vivace.recipes.footage_stills import STILLS, StillSource


@dataclass(frozen=True, kw_only=True, slots=True)
class FootageConfig:
    """How footage is cut and encoded.

    Clips are AV1 (`crf` 0 to 63, lower is better; SVT-AV1 `preset`) of `clip_size_px`, stills are WebP of
    `still_size_px` (both width, height). A clip has at least `num_min_frames`; `num_trim_frames` at either
    end of a shot are left out because a cut may blend there. Clips are dropped until all files together,
    stills included, take at most `max_bytes`.
    """

    crf: int = 30
    preset: int = 4
    webp_quality: int = 78
    clip_size_px: tuple[int, int] = (416, 240)
    still_size_px: tuple[int, int] = (512, 288)
    num_min_frames: int = 49
    num_trim_frames: int = 2
    max_bytes: int = 16_500_000


EVALUATION_CONFIG = FootageConfig(crf=20, num_min_frames=24, max_bytes=6_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestEntry:
    """One line of `manifest.json`: a file, where it came from and under which licence, and its measures."""

    file: str
    kind: Literal["clip", "still"]
    source: str
    title: str
    licence: str
    attribution: str
    num_frames: int
    fps: float
    width: int
    height: int


def slug(text: str) -> str:
    """A file name made of lower-case letters, digits and single underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def read_spans(
    path: Path, spans_s: Sequence[tuple[float, float]], size_px: tuple[int, int]
) -> Iterator[tuple[int, Fraction, UInt8[np.ndarray, "h w c"]]]:
    """Decode the spans of a video; yields (index of the span, frame rate, RGB frame of `size_px`).

    Frames are scaled to cover `size_px` and cropped around the centre; rates of 45 and more become about 30.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        source_rate = stream.average_rate or Fraction(25)
        step = max(1, round(source_rate / 30))
        scale = max(Fraction(size_px[0], stream.width), Fraction(size_px[1], stream.height))
        width = max(size_px[0], round(stream.width * scale))
        height = max(size_px[1], round(stream.height * scale))
        left, top = (width - size_px[0]) // 2, (height - size_px[1]) // 2
        last_s = max(stop for _, stop in spans_s)
        for index, frame in enumerate(container.decode(stream)):
            time_s = float(index / source_rate)
            if time_s >= last_s:
                break
            span = next((i for i, (start, stop) in enumerate(spans_s) if start <= time_s < stop), None)
            if span is None or index % step:
                continue
            scaled = frame.reformat(
                width=width, height=height, format="rgb24", interpolation="AREA"
            ).to_ndarray()
            pixels = np.ascontiguousarray(scaled[top : top + size_px[1], left : left + size_px[0]])
            yield span, Fraction(source_rate) / step, pixels


def grey_thumbnail(frame: UInt8[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w"]:
    """A grey picture about 64 wide for comparing frames; values 0 to 255."""
    step = max(1, frame.shape[1] // 64)
    grey = frame.mean(axis=2, dtype=np.float32)
    height, width = (side // step for side in grey.shape)
    return grey[: height * step, : width * step].reshape(height, step, width, step).mean(axis=(1, 3))


def is_cut(difference: float, recent: Sequence[float]) -> bool:
    """Whether a mean grey difference between neighbours is a cut, given the differences just before it."""
    usual = statistics.median(recent) if recent else 0.0
    return difference > 12.0 and difference > 3.0 * max(usual, 0.5)


def split_shots(
    frames: Iterable[tuple[int, Fraction, UInt8[np.ndarray, "h w c"]]],
) -> Iterator[tuple[Fraction, list[UInt8[np.ndarray, "h w c"]]]]:
    """Group decoded frames into (frame rate, shot): a new shot begins at every cut and at every span."""
    shot: list[np.ndarray] = []
    recent: list[float] = []
    before: tuple[int, Fraction, np.ndarray] | None = None
    for span, rate, frame in frames:
        thumbnail = grey_thumbnail(frame)
        if before is not None:
            difference = float(np.abs(thumbnail - before[2]).mean())
            if span != before[0] or is_cut(difference, recent):
                yield before[1], shot
                shot, recent = [], []
            else:
                recent = [*recent[-7:], difference]
        shot.append(frame)
        before = (span, rate, thumbnail)
    if before is not None:
        yield before[1], shot


def clip_ranges(num_frames: int, source: ClipSource, config: FootageConfig) -> list[tuple[int, int]]:
    """The frame ranges of one shot that become clips: ends trimmed, bounded in length, no short rests.

    A single clip per shot is taken from its middle.
    """
    start, stop = config.num_trim_frames, num_frames - config.num_trim_frames
    if source.num_clips_per_shot == 1 and stop - start > source.num_max_frames:
        start += (stop - start - source.num_max_frames) // 2
        stop = start + source.num_max_frames
    starts = range(start, stop, source.num_max_frames)[: source.num_clips_per_shot]
    ranges = [(first, min(first + source.num_max_frames, stop)) for first in starts]
    return [(first, last) for first, last in ranges if last - first >= config.num_min_frames]


def is_usable(frames: Sequence[UInt8[np.ndarray, "h w c"]], source: ClipSource) -> bool:
    """Whether first, middle and last frame are on average as bright and as rich as the source asks for."""
    sampled = [grey_thumbnail(frames[index]) for index in (0, len(frames) // 2, -1)]
    brightness = float(np.mean([grey.mean() for grey in sampled]))
    contrast = float(np.mean([grey.std() for grey in sampled]))
    return brightness >= source.min_brightness and contrast >= source.min_contrast


def write_clip(
    path: Path, frames: Sequence[UInt8[np.ndarray, "h w c"]], rate: Fraction, config: FootageConfig
) -> None:
    """Encode RGB frames as AV1 in MP4: yuv420p in BT.601 and limited range, the default of small video."""
    with av.open(str(path), "w") as container:
        options = {"preset": str(config.preset), "crf": str(config.crf)}
        stream = container.add_stream("libsvtav1", rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / rate
        for index, pixels in enumerate(frames):
            rgb = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_clips(source: ClipSource, root: Path, out: Path, config: FootageConfig) -> list[ManifestEntry]:
    """Cut and encode one source into `out`; returns its manifest entries in order of time.

    Raises InputError when the unpacked package at `root` lacks the file.
    """
    video = root / source.path
    if not video.is_file():
        raise InputError(
            f"{source.package.label()} has no {source.path}: expected the pinned version's layout."
        )
    entries: list[ManifestEntry] = []
    for rate, shot in split_shots(read_spans(video, source.spans_s, config.clip_size_px)):
        for first, last in clip_ranges(len(shot), source, config):
            frames = shot[first:last]
            if not is_usable(frames, source):
                continue
            name = f"{slug(source.title)}_{len(entries):03d}.mp4"
            write_clip(out / name, frames, rate, config)
            entries.append(
                ManifestEntry(
                    file=name,
                    kind="clip",
                    source=source.package.label(),
                    title=source.title,
                    licence=source.licence,
                    attribution=source.attribution,
                    num_frames=len(frames),
                    fps=round(float(rate), 4),
                    width=config.clip_size_px[0],
                    height=config.clip_size_px[1],
                )
            )
    return entries


def make_stills(source: StillSource, root: Path, out: Path, config: FootageConfig) -> list[ManifestEntry]:
    """Scale photographs to cover `still_size_px`, crop the centre, write WebP files below `out/stills`."""
    (out / "stills").mkdir(parents=True, exist_ok=True)
    entries: list[ManifestEntry] = []
    for relative in source.paths:
        parts = (source.package.name, Path(source.folder).stem, str(Path(relative).with_suffix("")))
        name = f"stills/{slug(' '.join(parts))}.webp"
        with Image.open(io.BytesIO(read_package_file(root, source.folder, relative))) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
        fitted = ImageOps.fit(upright, config.still_size_px, Image.Resampling.LANCZOS)
        fitted.save(out / name, quality=config.webp_quality, method=6)
        entries.append(
            ManifestEntry(
                file=name,
                kind="still",
                source=source.package.label(),
                title=relative,
                licence=source.licence,
                attribution=source.attribution,
                num_frames=1,
                fps=0.0,
                width=config.still_size_px[0],
                height=config.still_size_px[1],
            )
        )
    return entries


def files_over_budget(sizes: Sequence[tuple[str, str, int]], max_bytes: int) -> list[str]:
    """Which clips to drop so that the rest fits; `sizes` holds (file, title, bytes).

    Each step drops the largest clip of the title that holds most bytes, so small sources survive.
    Raises InputError when `max_bytes` is negative.
    """
    if max_bytes < 0:
        raise InputError("The stills alone exceed the size budget: allow more bytes or list fewer stills.")
    left = sorted(sizes, key=lambda item: item[2])
    dropped: list[str] = []
    while sum(size for _, _, size in left) > max_bytes:
        per_title: dict[str, int] = {}
        for _, title, size in left:
            per_title[title] = per_title.get(title, 0) + size
        largest_title = max(per_title, key=lambda title: per_title[title])
        largest = next(item for item in reversed(left) if item[1] == largest_title)
        left.remove(largest)
        dropped.append(largest[0])
    return dropped


def write_manifest(out: Path, entries: Sequence[ManifestEntry]) -> None:
    """Write `manifest.json` into `out`."""
    text = json.dumps([asdict(entry) for entry in entries], indent=1)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")


def read_manifest(out: Path) -> list[ManifestEntry]:
    """Read `manifest.json` from `out`; raises InputError when it is missing."""
    path = out / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path} was not found: expected a folder made by the tiny_footage recipe.")
    return [ManifestEntry(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def collect(
    out: Path,
    cache: Path,
    config: FootageConfig,
    clips: Sequence[ClipSource],
    stills: Sequence[StillSource],
) -> list[ManifestEntry]:
    """Fetch every source into `cache`; write clips, stills and the manifest into `out` within the budget.

    Raises InputError when a source cannot be fetched or the stills alone exceed the budget.
    """
    out.mkdir(parents=True, exist_ok=True)
    made: list[ManifestEntry] = []
    for still in stills:
        made += make_stills(still, fetch(still.package, cache), out, config)
    still_bytes = sum((out / entry.file).stat().st_size for entry in made)
    for clip in clips:
        made += make_clips(clip, fetch(clip.package, cache), out, config)
    sizes = [
        (entry.file, entry.title, (out / entry.file).stat().st_size) for entry in made if entry.kind == "clip"
    ]
    dropped = set(files_over_budget(sizes, config.max_bytes - still_bytes))
    for name in dropped:
        (out / name).unlink()
    kept = [entry for entry in made if entry.file not in dropped]
    write_manifest(out, kept)
    return kept


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `python -m vivace.recipes.tiny_footage --out DIR [--cache DIR] [--evaluation]`."""
    parser = argparse.ArgumentParser(
        description="Collect the licensed footage that the bundled editor learns from."
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for clips, stills and manifest.json"
    )
    parser.add_argument("--cache", type=Path, help="folder for downloaded packages (default: OUT.packages)")
    parser.add_argument(
        "--evaluation", action="store_true", help="the clips that are never trained on instead"
    )
    chosen = parser.parse_args(arguments)
    cache = chosen.cache or chosen.out.with_name(chosen.out.name + ".packages")
    if chosen.out.exists() and any(chosen.out.iterdir()):
        raise InputError(f"{chosen.out} is not empty: name a new folder, or delete this one first")
    if chosen.evaluation:
        entries = collect(chosen.out, cache, EVALUATION_CONFIG, EVALUATION_CLIPS, ())
    else:
        entries = collect(chosen.out, cache, FootageConfig(), CLIPS, STILLS)
    print(f"{len(entries)} files, {sum(entry.num_frames for entry in entries)} frames in {chosen.out}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main, "tiny_footage"))
