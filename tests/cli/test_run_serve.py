"""`vivace serve` as a process of its own, with the random model."""

import json
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from vivace.cli.live_arguments import ServeArguments
from vivace.cli.run_serve import address, parse_ice_server, server_settings
from vivace.core.errors import VivaceError


def settings(tmp_path: Path, **words):
    return server_settings(ServeArguments(**words), tmp_path)


def test_others_than_this_machine_need_a_token_and_get_one_in_the_address(tmp_path):
    assert settings(tmp_path).token is None
    shared = settings(tmp_path, host="192.168.1.5", tls=True)
    assert len(shared.token) >= 20
    assert address(shared, 8000) == f"https://192.168.1.5:8000/#token={shared.token}"
    assert address(settings(tmp_path, host="::1"), 80) == "http://[::1]:80/"


def test_ice_servers_are_read_with_and_without_a_login():
    turn = parse_ice_server("turn:me:pass@turn.example.org:3478")
    assert (turn.url, turn.username, turn.credential) == ("turn:turn.example.org:3478", "me", "pass")
    assert parse_ice_server("stun:stun.example.org:3478").username is None
    with pytest.raises(VivaceError, match="stun:HOST:PORT"):
        parse_ice_server("turn.example.org")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--port", "99999"), "0 to 65535"),
        (("--fps", "0"), "1 to 120"),
        (("--min-steps", "0"), "at least 0 denoising steps, expected 1 to 8"),
        (("--sessions", "0"), "positive"),
        (("--host", "0.0.0.0", "--token", "short"), "8 characters"),
        (("--recordings", "not-there"), "create it first"),
        (("--ice-server", "x"), "stun:HOST:PORT"),
        (("--sign", "no-chain.pem", "no-key.pem"), "recordings"),
        (("--host", "203.0.113.7"), "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(run, words, said):
    assert said in run("serve", *words).sentence


@contextmanager
def process(*words: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "vivace", "serve", "--port", "0", *map(str, words)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        yield running, line.rsplit(" ", 1)[-1].strip()
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_opens_a_session_and_ends_in_order_when_asked(toy_folder, how):
    common = ("--model", toy_folder, "--threads", 1, "--precision", "fp32", "--json-logs")
    with process(*common) as (running, url):
        body = json.dumps({"prompt": "make it snow", "width_px": 64, "height_px": 48}).encode()
        wish = urllib.request.Request(
            f"{url}sessions", data=body, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(wish, timeout=30) as answer:
            opened = json.load(answer)
        assert (opened["width_px"], opened["height_px"]) == (64, 48)
        running.send_signal(how)
        assert running.wait(20) == 0
        assert running.stderr is not None
        for line in running.stderr.read().splitlines():
            assert {"time", "level", "message"} <= json.loads(line).keys()


def test_with_tls_page_and_socket_are_encrypted_and_nothing_else_answers(toy_folder):
    common = ("--model", toy_folder, "--threads", 1, "--precision", "fp32", "--tls")
    with process(*common) as (running, url):
        assert url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(f"{url}healthz", timeout=30, context=trusting) as answer:
            assert json.load(answer) == {"status": "ok"}
        body = json.dumps({"prompt": "make it snow", "width_px": 64, "height_px": 48}).encode()
        headers = {"content-type": "application/json", "origin": url.rstrip("/")}
        wish = urllib.request.Request(f"{url}sessions", data=body, headers=headers)
        with urllib.request.urlopen(wish, timeout=30, context=trusting) as answer:
            opened = json.load(answer)
        address = f"{url.replace('https', 'wss')}sessions/{opened['session']}/socket"
        with connect(address, ssl=trusting, proxy=None) as socket:
            socket.send(json.dumps({"type": "hello", "v": 1, "key": opened["key"]}))
            assert json.loads(socket.recv(10))["type"] == "welcome"
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{url.replace('https', 'http')}healthz", timeout=10)
        # who does not know the certificate is warned
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{url}healthz", timeout=10)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
