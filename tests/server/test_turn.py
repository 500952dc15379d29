"""Media through a TURN server, where there is one to run: coturn (Debian: apt install coturn)."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aioice.ice import get_host_addresses
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)

from rtc_peers import Camera, negotiate, peer
from served import TIMEOUT_S, Serve
from vivace.cli.run_serve import parse_ice_server
from vivace.server.settings import ServerSettings

ADDRESSES = get_host_addresses(use_ipv4=True, use_ipv6=False)
pytestmark = [
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
    pytest.mark.skipif(not ADDRESSES, reason="this machine has no address but loopback"),
]


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a TURN server that knows `me` with `pass`."""
    folder: Path = tmp_path_factory.mktemp("turn")
    with socket.create_server((ADDRESSES[0], 0)) as found:
        port = found.getsockname()[1]
    command = [
        "turnserver",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--lt-cred-mech",
        "--realm=test",
        "--user=me:pass",
        f"--listening-ip={ADDRESSES[0]}",
        f"--relay-ip={ADDRESSES[0]}",
        f"--listening-port={port}",
        f"--userdb={folder / 'db'}",
        f"--pidfile={folder / 'pid'}",
        f"--log-file={folder / 'log'}",
    ]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            with closing(socket.socket()) as trial:
                if trial.connect_ex((ADDRESSES[0], port)) == 0:
                    break
            time.sleep(0.05)
        yield f"{ADDRESSES[0]}:{port}"
    finally:
        running.terminate()
        running.wait(TIMEOUT_S)


def test_a_viewer_behind_a_relay_sees_the_stream(serve: Serve, turn: str):
    served = serve()
    opened = served.open("grey 90", width_px=64, height_px=48)
    behind = RTCConfiguration(
        iceServers=[RTCIceServer(urls=f"turn:{turn}", username="me", credential="pass")],
        iceTransportPolicy=RTCIceTransportPolicy.RELAY,
    )

    async def talk() -> float:
        player = RTCPeerConnection(behind)
        try:
            async with peer() as publisher:
                publisher.addTrack(Camera())
                await negotiate(publisher, f"{served.address}/whip/{opened['session']}", opened["key"])
                tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
                player.on("track", tracks.put_nowait)
                player.addTransceiver("video", direction="recvonly")
                await negotiate(player, f"{served.address}/whep/{opened['session']}")
                assert "typ relay" in player.localDescription.sdp
                assert "typ host" not in player.localDescription.sdp
                async with asyncio.timeout(TIMEOUT_S):
                    frame = await (await tracks.get()).recv()
                return float(frame.to_ndarray(format="gray").mean())
        finally:
            await player.close()

    assert asyncio.run(talk()) == pytest.approx(90, abs=12)


@pytest.mark.parametrize(("password", "has_relay"), [("pass", True), ("wrong", False)])
def test_the_servers_own_side_offers_the_relay_of_its_option(serve: Serve, turn: str, password, has_relay):
    option = parse_ice_server(f"turn:me:{password}@{turn}")
    served = serve(ServerSettings(ice_servers=(option,)))
    opened = served.open("grey 90", width_px=64, height_px=48)
    assert opened["ice_servers"] == [{"urls": f"turn:{turn}", "username": "me", "credential": password}]

    async def talk() -> str:
        async with peer() as player:
            player.addTransceiver("video", direction="recvonly")
            return (await negotiate(player, f"{served.address}/whep/{opened['session']}")).text

    answer = asyncio.run(talk())
    assert "typ host" in answer
    assert ("typ relay" in answer) == has_relay
