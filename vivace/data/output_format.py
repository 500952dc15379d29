"""Which containers and codecs can be written, and with which settings; opens nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from vivace.core.errors import InputError
from vivace.data.frame_pixels import FULL_RANGE, LIMITED_RANGE, MATRIX_BT601, MATRIX_BT709, assumed_matrix

IMAGE_SEQUENCE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
KEY_FRAME_EVERY_S = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoCodec:
    """How one video codec is written.

    `quality` is the default on the encoder's own scale, lower is better; None where it has none.
    `size_multiple` is what width and height must be divisible by. `has_color_tags` says whether files name
    their colour matrix; otherwise the matrix is the one a reader will assume.
    """

    encoder: str
    pixel_format: str = "yuv420p"
    quality: int | None = None
    quality_option: str = "crf"
    options: Mapping[str, str] = field(default_factory=dict)
    size_multiple: int = 2
    color_range: int = LIMITED_RANGE
    has_color_tags: bool = True
    tag: str | None = None

    def matrix(self, width_px: int, height_px: int) -> int:
        """The colour matrix to convert with, one of the MATRIX constants."""
        if self.has_color_tags:
            return MATRIX_BT709
        return MATRIX_BT601 if self.color_range == FULL_RANGE else assumed_matrix(width_px, height_px)

    def encoder_options(self, quality: int | None, preset: str, fps: Fraction) -> dict[str, str]:
        """Options for the encoder; `preset` is used by the x264 and x265 families only."""
        options = {"g": str(max(1, round(fps * KEY_FRAME_EVERY_S))), **self.options}
        wanted = self.quality if quality is None else quality
        if wanted is not None:
            options[self.quality_option] = str(wanted)
        if self.encoder in ("libx264", "libx265"):
            options["preset"] = preset
        return options


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """How one container is written.

    `codecs` are the video codecs, the default first; `audio` the sound codecs that are copied, with
    `audio_encoder` for all others (None: no sound at all). `ticks_per_s` is a fixed clock, if it has one.
    `is_fragmented` containers are written so that an unfinished file plays. `has_priming` ones can say how
    much of a sound encoder's start-up is not to be heard. `latest_sound_s` is how late a sound track may
    start without silence before it: AVI knows no later start, a fragmented file's index waits for all tracks.
    An `is_playlist` one is many files, which are played while they are being written.
    """

    ffmpeg_format: str
    codecs: tuple[str, ...]
    audio: tuple[str, ...] = ()
    audio_encoder: str | None = None
    ticks_per_s: int | None = None
    has_constant_rate: bool = False
    is_fragmented: bool = False
    has_priming: bool = True
    latest_sound_s: Fraction | None = None
    is_playlist: bool = False


# No codec reorders frames (no B-frames): packets then carry the exact times of the frames they hold, no edit
# list shifts them, and a fragmented file stays exact while it is being written.
VIDEO_CODECS: Mapping[str, VideoCodec] = {
    "h264": VideoCodec(encoder="libx264", quality=18, options={"bf": "0"}),
    "hevc": VideoCodec(
        encoder="libx265", quality=20, options={"x265-params": "bframes=0:log-level=error"}, tag="hvc1"
    ),
    "vp9": VideoCodec(
        encoder="libvpx-vp9",
        quality=24,
        options={"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "lag-in-frames": "0"},
    ),
    "prores": VideoCodec(encoder="prores_ks", pixel_format="yuv422p10le"),
    "mpeg4": VideoCodec(
        encoder="mpeg4", quality=3, quality_option="qscale", options={"bf": "0"}, has_color_tags=False
    ),
    "mjpeg": VideoCodec(
        encoder="mjpeg",
        pixel_format="yuvj420p",
        quality=3,
        quality_option="qscale",
        color_range=FULL_RANGE,
        has_color_tags=False,
    ),
    "ffv1": VideoCodec(encoder="ffv1", pixel_format="bgr0", size_multiple=1),
    "gif": VideoCodec(encoder="gif", pixel_format="pal8", size_multiple=1),
}

MP4_AUDIO = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")
PCM_AUDIO = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8")

CONTAINERS: Mapping[str, Container] = {
    ".mp4": Container(
        ffmpeg_format="mp4",
        codecs=("h264", "hevc", "vp9", "mpeg4"),
        audio=MP4_AUDIO,
        audio_encoder="aac",
        is_fragmented=True,
        latest_sound_s=Fraction(1),
    ),
    ".m4v": Container(
        ffmpeg_format="mp4",
        codecs=("h264", "hevc"),
        audio=MP4_AUDIO,
        audio_encoder="aac",
        is_fragmented=True,
        latest_sound_s=Fraction(1),
    ),
    ".mov": Container(
        ffmpeg_format="mov",
        codecs=("h264", "hevc", "prores", "mjpeg", "mpeg4"),
        audio=("aac", "mp3", "ac3", "alac", *PCM_AUDIO),
        audio_encoder="aac",
        is_fragmented=True,
        latest_sound_s=Fraction(1),
    ),
    ".mkv": Container(
        ffmpeg_format="matroska",
        codecs=("h264", "hevc", "vp9", "ffv1", "prores", "mjpeg", "mpeg4"),
        audio=(
            "aac",
            "mp3",
            "mp2",
            "ac3",
            "eac3",
            "opus",
            "vorbis",
            "flac",
            "alac",
            "dts",
            "truehd",
            *PCM_AUDIO,
        ),
        audio_encoder="aac",
    ),
    ".webm": Container(
        ffmpeg_format="webm", codecs=("vp9",), audio=("opus", "vorbis"), audio_encoder="libopus"
    ),
    ".avi": Container(
        ffmpeg_format="avi",
        codecs=("mpeg4", "mjpeg", "h264", "ffv1"),
        audio=("mp3", "ac3", "pcm_s16le", "pcm_u8"),
        audio_encoder="libmp3lame",
        has_constant_rate=True,
        has_priming=False,
        latest_sound_s=Fraction(1, 20),
    ),
    ".gif": Container(ffmpeg_format="gif", codecs=("gif",), ticks_per_s=100),
    ".m3u8": Container(
        ffmpeg_format="hls",
        codecs=("h264",),
        audio=("aac",),
        audio_encoder="aac",
        ticks_per_s=90_000,
        has_priming=False,
        is_playlist=True,
    ),
}
STREAM_CONTAINER = Container(
    ffmpeg_format="flv", codecs=("h264",), audio=("aac", "mp3"), audio_encoder="aac", has_priming=False
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFormat:
    """What an output name asks for: an image sequence (both None) or a container with a codec."""

    container: Container | None = None
    codec: VideoCodec | None = None

    @property
    def is_images(self) -> bool:
        """Whether every frame becomes a file of its own."""
        return self.container is None

    @property
    def size_multiple(self) -> int:
        """What width and height must be divisible by; a sink pads other sizes."""
        return self.codec.size_multiple if self.codec else 1


def parse_output(name: str | Path, codec: str | None = None) -> OutputFormat:
    """Recognise an output by its ending.

    Args:
        name: `NAME.mp4` and the like, `NAME_%05d.png` or `FOLDER/` for images, or an `rtmp://` address.
        codec: A key of VIDEO_CODECS; None takes the container's default.

    Raises:
        InputError: If the ending or the codec is unknown, does not fit, or this FFmpeg lacks the encoder.
    """
    text = str(name)
    suffix = Path(text).suffix.lower()
    if is_address(text):
        container = STREAM_CONTAINER
    elif text.endswith(("/", "\\")) or (suffix in IMAGE_SEQUENCE_SUFFIXES and re.search(r"%0?\d*d", text)):
        if codec is not None:
            raise InputError(f"got codec {codec!r} for images {text}; leave it out, the ending says it all")
        return OutputFormat()
    elif suffix in IMAGE_SEQUENCE_SUFFIXES:
        stem = text[: -len(suffix)]
        raise InputError(f"cannot write a video into one image {text}; use {stem}_%05d{suffix} or {stem}/")
    elif suffix in CONTAINERS:
        container = CONTAINERS[suffix]
    else:
        known = ", ".join(CONTAINERS)
        raise InputError(
            f"cannot write {text}: unknown ending {suffix or 'none'}, expected one of {known}, "
            "NAME_%05d.png, a folder ending in / or an rtmp:// address"
        )
    chosen = {"h265": "hevc", "x264": "h264", "x265": "hevc"}.get(codec or "", codec or container.codecs[0])
    if chosen not in VIDEO_CODECS:
        raise InputError(f"unknown codec {codec!r}; expected one of {', '.join(VIDEO_CODECS)}")
    if chosen not in container.codecs:
        raise InputError(
            f"{suffix or text} cannot hold {chosen}; expected one of {', '.join(container.codecs)}"
        )
    if VIDEO_CODECS[chosen].encoder not in av.codecs_available:
        raise InputError(
            f"this FFmpeg was built without {VIDEO_CODECS[chosen].encoder}; choose another codec"
        )
    return OutputFormat(container=container, codec=VIDEO_CODECS[chosen])


def required_multiple(name: str | Path, codec: str | None = None) -> int:
    """What width and height of the frames must be divisible by to be written without padding.

    Raises:
        InputError: As `parse_output`.
    """
    return parse_output(name, codec).size_multiple


def is_address(name: str | Path) -> bool:
    """Whether an output is a network address rather than a file."""
    return str(name).startswith(("rtmp://", "rtmps://"))
