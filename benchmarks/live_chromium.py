"""How fast the live page is with a browser on the same machine: `vivace serve`, Chromium, one camera.

    python benchmarks/live_chromium.py --minutes 10

The camera is a clip that Chromium plays as its fake device. Prints frames a second as the browser decoded
them and as the server made them, and the delay that the page shows; `--picture` also saves a screenshot.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "server"))
from browser import Browser, Tab  # noqa: E402

CLIP = ROOT / "examples" / "media"
DECODED = """(async () => {
  for (const one of (await window.vivace.rtc.player.peer.getStats()).values())
    if (one.type === 'inbound-rtp' && one.kind === 'video') return one.framesDecoded;
})()"""


def write_camera(clip: Path, path: Path) -> None:
    """The clip as Motion JPEG, which Chromium plays in a circle."""
    with av.open(str(clip)) as source, av.open(str(path), "w", format="mjpeg") as output:
        stream = output.add_stream("mjpeg", rate=30, options={"qscale": "3"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        stream.codec_context.color_range = 2
        for index, frame in enumerate(source.decode(video=0)):
            pixels = frame.to_ndarray(format="rgb24", width=640, height=360)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
            picture.pts, picture.time_base = index, Fraction(1, 30)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


@contextmanager
def server(words: list[str]) -> Iterator[str]:
    """`vivace serve` and its address."""
    command = [sys.executable, "-m", "vivace", "serve", "--port", "0", *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().rsplit(" ", 1)[-1].strip()
    finally:
        running.terminate()
        running.wait(20)


def start(tab: Tab, address: str, prompt: str, transport: str) -> None:
    tab.size(1280, 900)
    tab.open(address)
    tab.run(f"document.getElementById('transport').value = '{transport}'")
    tab.run(f"document.getElementById('prompt').value = {json.dumps(prompt)}")
    tab.run("document.getElementById('use-camera').click()")
    tab.wait("window.vivace.stats?.frames_out > 16", timeout_s=60)


def watch(tab: Tab, minutes: float, transport: str) -> dict[str, object]:
    """Frames a second and delays, sampled once a second."""
    decoded = DECODED if transport == "webrtc" else "window.vivace.shownFrame"
    began_s, first = time.monotonic(), tab.run(decoded)
    made, delays = [], []
    while time.monotonic() - began_s < 60 * minutes:
        time.sleep(1)
        made.append(tab.run("window.vivace.stats.fps_out"))
        text = tab.run("document.getElementById('delay').textContent")
        if text.endswith("ms"):
            delays.append(float(text.split()[0]))
    took_s = time.monotonic() - began_s
    return {
        "transport": transport,
        "minutes": minutes,
        "fps_in_browser": round((tab.run(decoded) - first) / took_s, 2),
        "fps_made_mean": round(float(np.mean(made)), 2),
        "fps_made_worst_5_s": round(float(np.min(made)), 2),
        "delay_shown_ms_p50": round(float(np.median(delays)), 1),
        "delay_shown_ms_p99": round(float(np.quantile(delays, 0.99)), 1),
        "errors": tab.errors,
    }


def take_picture(tab: Tab, path: Path) -> None:
    """The page with another instruction in force and a third one on the timeline."""
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.size(1280, 800)
    ask(tab, "make it autumn", 0)
    tab.wait("window.vivace.past.length === 2")
    ask(tab, "make it a snowy night", 60)
    tab.wait("window.vivace.upcoming.size === 1")
    # notes of what happened are over it for a few seconds
    time.sleep(7)
    with tempfile.NamedTemporaryFile(suffix=".png") as shot:
        tab.picture(Path(shot.name))
        Image.open(shot.name).convert("RGB").save(path, quality=88)


def ask(tab: Tab, prompt: str, in_s: int) -> None:
    tab.run(
        f"document.getElementById('prompt').value = {json.dumps(prompt)};"
        f"document.getElementById('prompt-delay').value = {in_s};"
        "document.getElementById('apply').click()"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--transport", choices=("webrtc", "websocket"), default="webrtc")
    parser.add_argument("--prompt", default="turn it into a pencil sketch")
    parser.add_argument("--clip", type=Path, default=next(iter(sorted(CLIP.glob("*.mp4"))), None))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("serve", nargs="*", help="options for vivace serve, after --")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        camera = Path(folder) / "camera.mjpeg"
        write_camera(chosen.clip, camera)
        with (
            server(chosen.serve) as address,
            Browser(f"--use-file-for-fake-video-capture={camera}") as browser,
        ):
            tab = browser.tab()
            start(tab, address, chosen.prompt, chosen.transport)
            print(json.dumps(watch(tab, chosen.minutes, chosen.transport)))
            if chosen.picture is not None:
                take_picture(tab, chosen.picture)


if __name__ == "__main__":
    main()
