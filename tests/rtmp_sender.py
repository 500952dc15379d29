"""A program that sends a clip by RTMP, as OBS or a phone would."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# PyAV keeps Python's lock while an output connects, so the sender is a process of its own.
PUBLISHER = """
import sys, time, av
def publish(clip, address):
    start_s = time.monotonic()
    with av.open(clip) as source, av.open(address, "w", format="flv") as output:
        copies = {one.index: output.add_stream_from_template(one) for one in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                due_s = start_s + float(packet.dts * packet.time_base)
                time.sleep(max(0.0, due_s - time.monotonic()))
                packet.stream = copies[packet.stream_index]
                output.mux(packet)
for _ in range(100):
    try:
        publish(*sys.argv[1:])
        break
    except OSError:
        time.sleep(0.1)
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def publishing(clip: Path, address: str) -> Iterator[None]:
    """A program that sends to an RTMP server once there is one."""
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(clip), address])
    try:
        yield
    finally:
        process.kill()
        process.wait()
