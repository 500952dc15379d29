"""The page in a headless Chromium with a fake camera, end to end."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from browser import Browser, Tab, chromium
from fake_engine import FakeEngine
from served import Served, serving, until
from vivace.server.settings import Limits, ServerSettings

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
GREY_OF_CANVAS = """(() => {
  const from = document.getElementById(window.vivace.rtc ? 'edited-video' : 'edited');
  const to = document.createElement('canvas'); to.width = to.height = 8;
  const pen = to.getContext('2d'); pen.drawImage(from, 0, 0, 8, 8);
  return pen.getImageData(4, 4, 1, 1).data[0];
})()"""

HEARS_SOUND = """(async () => {
  for (const one of (await window.vivace.rtc?.player.peer.getStats() ?? new Map()).values())
    if (one.type === 'inbound-rtp' && one.kind === 'audio' && one.totalAudioEnergy > 0) return true;
  return false;
})()"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    engine = FakeEngine()
    settings = ServerSettings(
        recordings=tmp_path_factory.mktemp("takes"), limits=Limits(num_sessions=16, abandoned_s=5)
    )
    with serving(engine, settings) as (address, parts):  # pyright: ignore[reportArgumentType]
        yield Served(address, parts, engine)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


def start(browser: Browser, live: Served, transport: str = "websocket", prompt: str = "grey 50") -> Tab:
    """A page with its camera on and frames coming back."""
    tab = browser.tab()
    tab.size(1280, 860)
    tab.open(f"{live.address}/")
    tab.run(f"document.getElementById('transport').value = '{transport}'")
    tab.run(f"document.getElementById('prompt').value = '{prompt}'")
    tab.run("document.getElementById('use-camera').click()")
    tab.wait("window.vivace.stats?.frames_out > 8")
    return tab


def apply(tab: Tab, prompt: str) -> None:
    tab.run(f"document.getElementById('prompt').value = '{prompt}'; document.getElementById('apply').click()")


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_the_camera_goes_in_and_a_prompt_change_is_seen_in_the_picture(browser, live, transport):
    tab = start(browser, live, transport)
    assert tab.run("!!window.vivace.rtc") == (transport == "webrtc")
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 50) < 8")
    apply(tab, "grey 200")
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 200) < 8")
    tab.wait("window.vivace.past.length === 2")
    assert tab.run("window.vivace.past[1].frame") > 0
    assert "from frame" in tab.run("document.getElementById('timeline').textContent")
    assert "ms" in tab.wait("document.getElementById('delay').textContent.includes('ms') && 'ms'")
    assert tab.run("document.getElementById('edited-empty').hidden")
    assert not tab.errors
    tab.run("window.close()")


def test_rewind_pause_and_recording_work_from_the_page(browser, live, tmp_path: Path):
    tab = start(browser, live)
    tab.wait("!document.querySelector('[data-rewind=\"2\"]').disabled")
    before = tab.run("window.vivace.shownFrame")
    tab.run("document.getElementById('record').click()")
    tab.wait("window.vivace.isRecording")
    tab.run("document.querySelector('[data-rewind=\"2\"]').click()")
    tab.wait("window.vivace.past.length === 2")
    assert tab.run("window.vivace.past[1].frame") < before
    time.sleep(0.5)
    tab.run("document.getElementById('record').click()")
    link = tab.wait("document.querySelector('#recordings a')?.href")
    take = tmp_path / "take.mp4"
    take.write_bytes(live.get(link.removeprefix(live.address)).content)
    with av.open(str(take)) as video:
        assert sum(1 for _ in video.decode(video=0)) > 4
    tab.run("document.activeElement.blur()")
    tab.key(" ")
    tab.wait("window.vivace.isPaused && !document.getElementById('paused-mark').hidden")
    tab.key(" ")
    tab.wait("!window.vivace.isPaused")
    assert not tab.errors


def test_a_page_that_is_loaded_again_comes_back_to_its_session(browser, live):
    tab = start(browser, live)
    session = tab.run("window.vivace.session.session")
    tab.open(f"{live.address}/")
    tab.run("document.getElementById('transport').value = 'websocket'")
    tab.run("document.getElementById('use-camera').click()")
    tab.wait("window.vivace.shownFrame > 8")
    assert tab.run("window.vivace.session.session") == session


def test_a_dropped_connection_is_taken_up_again(browser, live):
    tab = start(browser, live)
    frame = tab.run("window.vivace.shownFrame")
    tab.run("window.vivace.link.socket.close()")
    tab.wait("document.getElementById('state').textContent === 'reconnecting'")
    tab.wait(f"window.vivace.shownFrame > {frame} + 16")
    assert tab.run("document.getElementById('state').textContent") == "live"


def test_an_order_given_while_the_connection_is_away_is_not_lost(browser, live):
    tab = start(browser, live)
    tab.run("window.vivace.link.socket.close()")
    tab.wait("!window.vivace.link.isOpen")
    apply(tab, "grey 230")
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 230) < 8")
    assert not tab.errors


def test_two_browsers_do_not_see_each_others_stream(browser, live):
    dark = start(browser, live, prompt="grey 20")
    with Browser() as other:
        light = start(other, live, prompt="grey 220")
        light.wait(f"{GREY_OF_CANVAS} > 205")
        dark.wait(f"{GREY_OF_CANVAS} < 35")
        assert light.run(GREY_OF_CANVAS) > 205


def test_the_bare_view_shows_the_stream_of_its_session_only(browser, live):
    tab = start(browser, live, prompt="grey 120")
    view = browser.tab()
    view.open(f"{live.address}/view/{tab.run('window.vivace.session.session')}")
    view.wait(GREY_OF_CANVAS.replace("window.vivace.rtc", "false") + " > 110")
    assert view.run("document.body.innerText.trim()") == ""


def test_the_page_fits_a_phone(browser, live):
    tab = start(browser, live)
    tab.size(390, 844, is_phone=True)
    assert tab.run("document.documentElement.scrollWidth") <= 390
    assert tab.run("document.getElementById('apply').getBoundingClientRect().bottom") <= 844
    # the source lies in a corner of the edited picture
    inside = """(() => {
      const [edited, source] = ['edited-pane', 'source-pane'].map(
        (name) => document.getElementById(name).getBoundingClientRect());
      return source.top > edited.top && source.bottom < edited.bottom && source.width < edited.width / 2;
    })()"""
    assert tab.run(inside)
    for name in ("apply", "edited-pane", "full"):
        assert tab.run(f"document.getElementById('{name}').getBoundingClientRect().right") <= 390


def test_strength_and_steps_change_the_running_stream_and_a_seed_starts_anew(browser, live):
    tab = start(browser, live, prompt="grey 200")
    num_opened = live.engine.num_opened
    frame = tab.run("window.vivace.shownFrame")
    tab.run(
        "(s => { s.value = 50; s.dispatchEvent(new Event('change')); })(document.getElementById('strength'))"
    )
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 100) < 8")
    assert tab.run("window.vivace.shownFrame") > frame
    assert live.engine.num_opened == num_opened
    tab.run("(s => { s.value = 7; s.dispatchEvent(new Event('change')); })(document.getElementById('seed'))")
    tab.wait("document.getElementById('toasts').textContent.includes('anew')")
    assert live.engine.num_opened == num_opened + 1
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 100) < 8")
    assert not tab.errors


def test_sound_goes_in_and_comes_back_where_it_is_asked_for(browser, live):
    tab = browser.tab()
    tab.open(f"{live.address}/")
    tab.run("document.getElementById('transport').value = 'webrtc'")
    tab.run("document.getElementById('sound').checked = true")
    tab.run("document.getElementById('use-camera').click()")
    tab.wait("window.vivace.rtc && window.vivace.stats?.frames_out > 8")
    tab.wait("document.getElementById('edited-video').srcObject?.getAudioTracks().length === 1")
    # the fake microphone beeps
    tab.wait(HEARS_SOUND)
    assert not tab.run("document.getElementById('edited-video').muted")
    assert not tab.errors
    # a page without a source of its own hears the session's
    remote = browser.tab()
    remote.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="addEventListener('DOMContentLoaded', () => {"
        " transport.value = 'webrtc'; sound.checked = true; })",
    )
    session, key = (tab.run(f"window.vivace.session.{name}") for name in ("session", "key"))
    remote.open(f"{live.address}/#session={session}&key={key}")
    remote.wait(HEARS_SOUND)
    assert not remote.run("document.getElementById('edited-video').muted")
    assert "no sound" not in remote.run("document.getElementById('toasts').textContent")
    assert not remote.errors


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_another_page_steers_a_session_without_a_source_of_its_own(browser, live, transport):
    tab = start(browser, live, prompt="grey 50")
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    tab.run("document.getElementById('share').click()")
    kind = "document.getElementById('share-steer').type"
    assert tab.run(kind) == "password"
    tab.run("document.getElementById('share-steer').focus()")
    assert tab.run(kind) == "text"
    assert tab.run("getSelection().toString()") == tab.run("document.getElementById('share-steer').value")
    tab.run("document.getElementById('sharing').close()")
    tab.wait(f"{kind} === 'password'")
    address = tab.run("document.getElementById('share-steer').value")
    remote = browser.tab()
    remote.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source=f"addEventListener('DOMContentLoaded', () => transport.value = '{transport}')",
    )
    remote.open(address)
    remote.wait(f"Math.abs({GREY_OF_CANVAS} - 50) < 8")
    remote.wait(f"(window.vivace.rtc === null) === {json.dumps(transport == 'websocket')}")
    assert not remote.run("document.getElementById('pick-source').hidden")
    assert remote.run("document.getElementById('prompt').value") == "grey 50"
    remote.size(390, 844, is_phone=True)
    tops = [
        remote.run(f"document.getElementById('{name}').getBoundingClientRect().top")
        for name in ("edited-pane", "source-pane")
    ]
    assert tops == sorted(tops)
    apply(remote, "grey 200")
    tab.call("Page.bringToFront")
    tab.wait(f"Math.abs({GREY_OF_CANVAS} - 200) < 8")
    assert tab.run("window.vivace.past.length") == 2
    assert not remote.errors
    assert not tab.errors


def test_the_page_says_where_the_machine_takes_fewer_steps(browser, live):
    tab = start(browser, live)
    tab.wait("document.getElementById('steps-taken').textContent === '4'")
    assert "slower" not in tab.run("document.getElementById('rate-note').textContent")
    live.engine.most_steps = 2
    try:
        tab.wait("document.getElementById('steps-of').textContent === 'of 4'")
        note = tab.run("document.getElementById('rate-note').textContent")
        assert "2 of 4 steps: this machine is slower than 16 FPS." in note
        # other tests' pages may still send
        until(lambda: "vivace_slowed_sessions 0.0" not in live.get("/metrics").text)
    finally:
        live.engine.most_steps = 8
    assert not tab.errors


def test_earlier_instructions_come_back_with_the_arrow_keys(browser, live):
    tab = start(browser, live, prompt="grey 10")
    for prompt in ("grey 60", "grey 90"):
        apply(tab, prompt)
    tab.wait("window.vivace.past.length === 3")
    tab.run(
        "(p => { p.value = 'grey 1'; p.dispatchEvent(new Event('input')); })"
        "(document.getElementById('prompt'))"
    )
    written = "document.getElementById('prompt').value"
    seen = []
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"):
        tab.run(
            f"document.getElementById('prompt').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))"
        )
        seen.append(tab.run(written))
    assert seen == ["grey 90", "grey 60", "grey 90", "grey 1"]


def test_numbers_of_the_last_minute_are_drawn_and_a_recording_is_timed(browser, live):
    tab = start(browser, live)
    tab.run("document.getElementById('record').click()")
    tab.wait("document.querySelector('#delay-line path').getAttribute('d')?.split('L').length > 2")
    tab.wait("document.getElementById('recording-time').textContent === '0:02'")
    assert "NaN" not in tab.run("document.querySelector('.readout').innerHTML")
    tab.run("document.getElementById('record').click()")
    tab.wait("!window.vivace.isRecording")
    assert tab.run("document.querySelectorAll('#presets button').length") == 6
    assert not tab.errors
