"""Makes small clips with PyAV for the video tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 48_000


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A track of silence with a tone from `tone_from_s` on."""

    codec: str = "aac"
    duration_s: float = 2.0
    tone_from_s: float = 0.0
    start_s: float = 0.0
    language: str | None = None
    layout: str = "stereo"


@dataclass(frozen=True, kw_only=True)
class Film:
    """A clip to be made; frame i is flat gray of brightness 10 + 8 * i unless `pixels` says otherwise."""

    times_ms: Sequence[int] = tuple(range(0, 1000, 40))
    last_ms: int = 40
    width: int = 64
    height: int = 48
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"bf": "0", "preset": "ultrafast", "crf": "10"})
    container: dict[str, str] = field(default_factory=dict)
    sounds: Sequence[Sound] = ()
    tags: dict[str, str] = field(default_factory=dict)
    rotation: tuple[float, bool, bool] | None = None
    pixel_aspect: Fraction | None = None
    pixels: Sequence[np.ndarray] | None = None

    def frame(self, index: int) -> np.ndarray:
        if self.pixels is not None:
            return self.pixels[index]
        return np.full((self.height, self.width, 3), gray_of(index), np.uint8)


def gray_of(index: int) -> int:
    return 10 + 8 * (index % 30)


def index_of(pixels: np.ndarray) -> int:
    """Which frame of a `Film` this is."""
    return round((float(pixels.mean()) - 10) / 8)


def make(path: Path, film: Film | None = None, *, container_format: str | None = None) -> Path:
    """Write the clip; pictures carry exact millisecond times."""
    film = film or Film()
    time_base = Fraction(1, 1000)
    rate = Fraction(1000, film.times_ms[1] - film.times_ms[0]) if len(film.times_ms) > 1 else Fraction(25)
    with av.open(str(path), "w", format=container_format, container_options=film.container) as output:
        output.metadata.update(film.tags)
        stream = output.add_stream(film.codec, rate=rate, options=film.options)
        stream.width, stream.height, stream.pix_fmt = film.width, film.height, film.pixel_format
        if container_format != "avi" and path.suffix != ".avi":
            stream.codec_context.time_base = time_base
        if film.rotation:
            stream.set_display_rotation(*film.rotation)
        if film.pixel_aspect:
            stream.codec_context.sample_aspect_ratio = film.pixel_aspect
        tracks = [_add_sound(output, sound) for sound in film.sounds]
        durations = dict(
            zip(film.times_ms, np.diff([*film.times_ms, film.times_ms[-1] + film.last_ms]), strict=True)
        )
        positions = [0] * len(tracks)

        def mux(packets):
            for packet in packets:
                if packet.time_base == time_base:
                    packet.duration = int(durations.get(packet.pts, packet.duration))
                output.mux(packet)

        for index, time_ms in enumerate(film.times_ms):
            frame = film.frame(index)
            picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[2] == 4 else "rgb24")
            picture.pts, picture.time_base = time_ms, time_base
            for track, sound in enumerate(film.sounds):
                positions[track] = _write_sound(
                    output, tracks[track], sound, positions[track], time_ms / 1000 + 0.2
                )
            mux(stream.encode(picture))
        mux(stream.encode(None))
        for track, sound in enumerate(film.sounds):
            _write_sound(output, tracks[track], sound, positions[track], sound.duration_s)
            output.mux(tracks[track].encode(None))
    return path


def _add_sound(output, sound):
    track = output.add_stream(sound.codec, rate=RATE_HZ)
    track.codec_context.layout = sound.layout
    if sound.language:
        track.metadata["language"] = sound.language
    return track


def _write_sound(output, track, sound, position, until_s):
    num_channels = 1 if sound.layout == "mono" else 2
    sample_format = track.codec_context.format.name
    while position < min(until_s, sound.duration_s) * RATE_HZ:
        when = np.arange(position, position + 960) / RATE_HZ
        tone = np.where(when >= sound.tone_from_s, 0.5 * np.sin(2 * np.pi * 1000 * when), 0)
        wave = np.tile(tone.astype(np.float32), (num_channels, 1))
        if sample_format == "s16":
            frame = av.AudioFrame.from_ndarray(
                (wave.T.reshape(1, -1) * 32767).astype(np.int16), format="s16", layout=sound.layout
            )
        else:
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=sound.layout)
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = position + round(sound.start_s * RATE_HZ)
        output.mux(track.encode(frame))
        position += 960
    return position


def tone_start_s(path: Path, track: int = 0) -> float:
    """When the tone of a sound track begins to be heard."""
    with av.open(str(path)) as source:
        stream = source.streams.audio[track]
        for frame in source.decode(stream):
            wave = frame.to_ndarray().astype(np.float64)
            if frame.format.name.startswith("s16"):
                wave = wave.reshape(-1, frame.layout.nb_channels).T / 32768
            loud = np.flatnonzero(np.abs(wave[0]) > 0.1)
            if len(loud):
                return float(frame.pts * frame.time_base) + loud[0] / frame.sample_rate
    raise AssertionError(f"{path} has no tone in track {track}")


def sound_packets(path: Path, track: int = 0) -> list[bytes]:
    with av.open(str(path)) as source:
        return [bytes(packet) for packet in source.demux(source.streams.audio[track]) if packet.size]
