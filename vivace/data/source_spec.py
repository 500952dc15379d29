"""What the user's input string names: a file, a folder of images, a camera or an address; opens nothing."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av.device

from vivace.core.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
URL_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp")

# FFmpeg has an option for it, people know it from addresses
LISTEN = re.compile(r"([^?]+)\?listen(?:=1)?")

SourceKind = Literal["file", "images", "camera", "url"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSpec:
    """An input that was recognised.

    `target` is what FFmpeg opens; `images` are the files of a folder (or one image) in natural order. With
    `is_listening` the address is one of this machine, where a sender is waited for.
    """

    kind: SourceKind
    name: str
    target: str = ""
    ffmpeg_format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Path, ...] = ()
    is_listening: bool = False

    @property
    def is_live(self) -> bool:
        """Whether frames arrive in real time and cannot be sought."""
        return self.kind == "camera"

    @property
    def path(self) -> Path | None:
        """The file or folder on disk, if it is one."""
        return Path(self.name) if self.kind in ("file", "images") else None


def parse_source(spec: str | Path, platform: str = sys.platform) -> SourceSpec:
    """Recognise an input.

    Args:
        spec: A path to a file or a folder of images, `camera:0`, `camera:NAME`, `/dev/video0`, or a URL.
            `rtmp://HOST:PORT/APP/KEY?listen` waits on this machine for a program that sends there.
        platform: As in `sys.platform`; decides how cameras are opened.

    Raises:
        InputError: If there is no such file, the folder holds no image, or the address is of unknown kind.
    """
    text = str(spec)
    if text.startswith("camera:") or re.fullmatch(r"/dev/video\d+", text):
        return _camera(text, platform)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme and scheme[1].lower() != "file":
        if scheme[1].lower() not in URL_SCHEMES:
            raise InputError(
                f"cannot read {text}: got {scheme[1]}://, expected one of {', '.join(URL_SCHEMES)}"
            )
        if scheme[1].lower() == "rtmp" and (waits := LISTEN.fullmatch(text)):
            return SourceSpec(
                kind="url", name=text, target=waits[1], options={"listen": "1"}, is_listening=True
            )
        # Over UDP a lossy network tears pictures; TCP only delays them.
        options = {"rtsp_transport": "tcp"} if scheme[1].lower().startswith("rtsp") else {}
        return SourceSpec(kind="url", name=text, target=text, options=options)
    path = Path(text[len("file://") :] if scheme else text)
    if path.is_dir():
        return SourceSpec(kind="images", name=str(path), images=_images_in(path))
    if not path.exists():
        raise InputError(f"no file at {path}; check the path, or give a folder of images, camera:0 or a URL")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return SourceSpec(kind="images", name=str(path), images=(path,))
    # The prefix keeps FFmpeg from reading a colon in the name as a protocol.
    return SourceSpec(kind="file", name=str(path), target=f"file:{path}")


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _images_in(folder: Path) -> tuple[Path, ...]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not found:
        raise InputError(
            f"the folder {folder} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    return tuple(sorted(found, key=natural_key))


def _camera(text: str, platform: str) -> SourceSpec:
    wanted = text.removeprefix("camera:").removeprefix("/dev/video")
    if not wanted:
        raise InputError("got an empty camera name; give its number, for example camera:0")
    if platform == "darwin":
        options = {"framerate": "30", "pixel_format": "uyvy422"}
        return SourceSpec(
            kind="camera", name=text, target=f"{wanted}:none", ffmpeg_format="avfoundation", options=options
        )
    if platform == "win32":
        device = _directshow_name(int(wanted)) if wanted.isdecimal() else wanted
        return SourceSpec(kind="camera", name=text, target=f"video={device}", ffmpeg_format="dshow")
    target = f"/dev/video{wanted}" if wanted.isdecimal() else wanted
    return SourceSpec(kind="camera", name=text, target=target, ffmpeg_format="v4l2")


def _directshow_name(index: int) -> str:
    # DirectShow knows cameras by name only.
    cameras = [
        device.name for device in av.device.enumerate_input_devices("dshow") if "video" in device.media_types
    ]
    if index >= len(cameras):
        raise InputError(f"no camera {index}; found {cameras or 'none'}")
    return cameras[index]
