"""Small clips with known pictures, times and sound: writing and reading them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLIP_WIDTH, CLIP_HEIGHT = 80, 48
SAMPLE_RATE = 16_000


def write_clip(path: Path, times_ms: Sequence[int], *, last_ms: int = 40, has_sound: bool = True) -> Path:
    """A moving picture whose frames stand at these milliseconds, with a tone."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"crf": "12", "bf": "0", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = CLIP_WIDTH, CLIP_HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = output.add_stream("aac", rate=SAMPLE_RATE, layout="mono") if has_sound else None
        durations = dict(zip(times_ms, [*np.diff(times_ms), last_ms], strict=True))
        packets = []
        for index, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            packets += video.encode(frame)
        for packet in [*packets, *video.encode(None)]:
            packet.duration = int(durations[packet.pts])
            output.mux(packet)
        if sound is not None:
            num_samples = (times_ms[-1] + last_ms) * SAMPLE_RATE // 1000
            wave = np.sin(np.arange(num_samples) * 0.2).astype(np.float32)[None] * 0.3
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            for packet in [*sound.encode(tone), *sound.encode(None)]:
                output.mux(packet)
    return path


def write_flashes(
    path: Path, num_seconds: float, *, fps: int = 25, codec: str = "aac", sound_from_s: float = 0.0
) -> Path:
    """Dark and silent, but white and a tone of 1 kHz for the first fifth of every second."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream(codec, rate=48_000, layout="stereo")
        for index in range(round(num_seconds * fps)):
            grey = 235 if index / fps % 1 < 0.2 else 20
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            output.mux(video.encode(frame))
            start_s = index / fps
            if start_s < sound_from_s:
                continue
            times_s = start_s + np.arange(48_000 // fps) / 48_000
            wave = 0.4 * np.sin(2 * np.pi * 1000 * times_s) * (times_s % 1 < 0.2)
            samples = np.repeat((32_767 * wave).astype(np.int16), 2).reshape(1, -1)
            tone = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            tone.sample_rate, tone.time_base = 48_000, Fraction(1, 48_000)
            tone.pts = round(start_s * 48_000)
            output.mux(sound.encode(tone))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    return path


def picture(index: int) -> np.ndarray:
    """Frame `index` of the clips: a gradient with a square that moves."""
    columns = np.linspace(0, 255, CLIP_WIDTH, dtype=np.uint8)
    frame = np.stack([np.tile(columns, (CLIP_HEIGHT, 1))] * 3, axis=-1)
    frame[:, :, 1] = np.linspace(255, 0, CLIP_HEIGHT, dtype=np.uint8)[:, None]
    left = 4 * index % (CLIP_WIDTH - 8)
    frame[20:28, left : left + 8] = (255, 40, 0)
    return frame


def read_clip(path: Path) -> tuple[list[float], np.ndarray]:
    """Times in milliseconds and RGB frames of a written file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [float(frame.pts * frame.time_base * 1000) for frame in frames]
    return times, np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
