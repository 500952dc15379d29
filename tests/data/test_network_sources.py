"""Network inputs from senders on this machine: MPEG-TS over UDP, HLS over HTTP, RTSP and RTMP over TCP."""

import base64
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from rtmp_sender import free_port, publishing
from small_clips import picture, write_clip
from vivace.core.errors import InputError
from vivace.data import media_input
from vivace.data.video_source import open_source

NUM_FRAMES = 50


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [40 * index for index in range(NUM_FRAMES)])


def send(clip: Path, address: str, repeats: int) -> None:
    """Copy a clip into an address at the speed of life."""
    start_s = time.monotonic()
    with (
        av.open(str(clip)) as source,
        av.open(address, "w", format="mpegts") as output,
    ):
        copies = {one.index: output.add_stream_from_template(one) for one in source.streams}
        for repeat in range(repeats):
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None:
                    continue
                shift_s = repeat * NUM_FRAMES * Fraction(1, 25)
                packet.pts += round(shift_s / packet.time_base)
                packet.dts += round(shift_s / packet.time_base)
                due_s = start_s + float(packet.dts * packet.time_base)
                time.sleep(max(0.0, due_s - time.monotonic()))
                packet.stream = copies[packet.stream_index]
                output.mux(packet)


@contextmanager
def running(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread meanwhile; that the reader leaves first is no failure."""

    def quietly() -> None:
        try:
            work()
        except (av.error.FFmpegError, OSError):
            return

    thread = threading.Thread(target=quietly)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def first_frames(address: str, count: int) -> tuple[np.ndarray, int]:
    """So many frames, and packets of sound that came with them."""
    with open_source(address, has_audio=True, timeout_s=10) as source:
        frames = [frame for frame, _ in zip(source, range(count))]
        times = np.array([float(frame.time_s) for frame in frames])
        assert np.diff(times) == pytest.approx(np.full(count - 1, 0.04), abs=0.002)
        return np.stack([frame.pixels for frame in frames]), len(source.take_audio())


def test_a_transport_stream_over_udp(clip):
    address = f"udp://127.0.0.1:{free_port()}"
    with running(lambda: send(clip, f"{address}?pkt_size=1316", repeats=3)):
        frames, num_audio = first_frames(address, 20)
    assert frames.shape == (20, 48, 80, 3)
    assert num_audio > 3


def test_rtmp_is_listened_for(clip):
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    with publishing(clip, address), open_source(f"{address}?listen", has_audio=True) as source:
        assert (source.info.width_px, source.info.height_px) == (80, 48)
        frames = list(source)
        num_audio = len(source.take_audio())
    assert len(frames) == NUM_FRAMES
    assert num_audio > 10
    # that the sender has finished is no damage
    assert not source.was_truncated
    times = np.array([float(frame.time_s) for frame in frames])
    assert np.diff(times) == pytest.approx(np.full(NUM_FRAMES - 1, 0.04), abs=0.002)


def test_nobody_sends_to_a_listener(monkeypatch):
    monkeypatch.setattr(media_input, "LISTEN_S", 0.5)
    monkeypatch.setattr(media_input, "LISTEN_TURN_S", 0.4)
    address = f"rtmp://127.0.0.1:{free_port()}/live/key"
    with pytest.raises(InputError, match=r"nobody sent anything to .* within 0\.5 s"):
        open_source(f"{address}?listen")


def test_an_address_of_another_machine_cannot_be_listened_on():
    with pytest.raises(InputError, match="must be an address of this machine"):
        open_source(f"rtmp://192.0.2.1:{free_port()}/live/key?listen")


def test_hls_over_http(tmp_path):
    with av.open(str(tmp_path / "a.m3u8"), "w", format="hls", options={"hls_time": "1"}) as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "25", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        frames, _ = first_frames(f"http://127.0.0.1:{server.server_port}/a.m3u8", NUM_FRAMES)
        server.shutdown()
        thread.join()
    assert np.abs(frames[-1].astype(int) - picture(NUM_FRAMES - 1)).mean() < 12


class Camera(socketserver.StreamRequestHandler):
    """An IP camera: H.264 by RTSP, interleaved on the connection that asked for it (RFC 2326, RFC 6184)."""

    def handle(self) -> None:
        units = h264_units()
        while request := self.request_lines():
            method, number = request[0].split()[0], next(one for one in request if one.startswith("CSeq:"))
            head = [f"RTSP/1.0 200 OK\r\n{number}"]
            body = ""
            if method == "OPTIONS":
                head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
            elif method == "DESCRIBE":
                sets = ",".join(
                    base64.b64encode(unit).decode() for unit in units[0] if unit[0] & 31 in (7, 8)
                )
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    f"a=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets={sets}\r\na=control:track\r\n"
                )
                head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
            self.wfile.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                # the test has enough before the film is over
                with suppress(OSError):
                    self.play(units)
                return

    def request_lines(self) -> list[str]:
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        return lines

    def play(self, frames: list[list[bytes]]) -> None:
        number = 0
        for index, units in enumerate(frames):
            for place, unit in enumerate(units):
                is_last = place == len(units) - 1
                head = bytes([0x80, 96 | is_last << 7]) + number.to_bytes(2, "big")
                packet = head + (3600 * index).to_bytes(4, "big") + b"\0\0\0\1" + unit
                self.wfile.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)
                number += 1
            time.sleep(0.02)


def h264_units() -> list[list[bytes]]:
    """The NAL units of every frame, each small enough for one packet."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 80, 48, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"bf": "0", "g": "10", "slice-max-size": "1200", "tune": "zerolatency"}
    frames = []
    for index in range(NUM_FRAMES):
        frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        data = b"".join(bytes(packet) for packet in encoder.encode(frame.reformat(format="yuv420p")))
        frames.append([unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit])
    return frames


def test_rtsp():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        frames, _ = first_frames(f"rtsp://127.0.0.1:{server.server_address[1]}/live", 30)
        server.shutdown()
        thread.join()
    assert np.abs(frames[0].astype(int) - picture(0)).mean() < 14
    assert np.abs(frames[29].astype(int) - picture(29)).mean() < 14
