"""`vivace bench live` prints, returns and writes the same figures, in one process and over loopback."""

import pytest
from aioice.ice import get_host_addresses

from vivace.server import load_run

FEW = ("--duration", 2.5, "--fps", 20, "--size", "64x48", "--steps", 1, "--threads", 1, "--precision", "fp32")
OVER = ["process", "websocket"]
if get_host_addresses(use_ipv4=True, use_ipv6=False):
    # aiortc offers no loopback addresses
    OVER.append("webrtc")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_way_is_measured_and_the_delay_adds_up(run, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(load_run, "WARM_UP_S", 0.5)
    words = ("--over", *OVER, "--min-steps", 1, "--write", tmp_path, "--json")
    outcome = run("bench", "live", "--model", toy_folder, *FEW, *words)
    assert outcome.code == 0, outcome.err
    result = outcome.report
    runs = {one["over"]: one for one in result["runs"]}
    assert list(runs) == OVER
    assert result["machine"]["num_threads"] == 1
    assert runs["process"]["counts"]["frames_in"] == 50
    for over in OVER:
        found = runs[over]
        assert found["fps_out"] > 5
        # one step was asked for, so that no chunk could take fewer
        assert found["counts"]["denoising_steps"] == found["counts"]["chunks"]
        assert found["ttff"]["num_values"] == 1
        assert found["prompt_change"]["num_values"] == 1
        assert 0 < found["prompt_change"]["mean_ms"] < 2500
    for over in OVER[1:]:
        found = runs[over]
        assert found["num_sent"] == 50
        assert found["num_unread"] < 10
        # a frame is late by its chunk, the model and what is added, and that by its parts
        parts = sum(found[name]["mean_ms"] for name in ("buffering", "model", "added"))
        assert parts == pytest.approx(found["delay"]["mean_ms"], rel=0.01)
        added = sum(found[name]["mean_ms"] for name in ("leg_in", "engine", "held", "leg_out"))
        assert added == pytest.approx(found["added"]["mean_ms"], rel=0.01, abs=0.5)
        assert found["leg_in"]["p50_ms"] > 0
        assert found["leg_out"]["p50_ms"] > 0
        assert found["buffering"]["p50_ms"] == pytest.approx(150, rel=0.2)
        # an even stream costs less than a frame's time
        assert found["held"]["p99_ms"] < 80
    (page,) = tmp_path.glob("*-live-*-1-threads.md")
    text = page.read_text()
    assert "## one session over loopback WebSocket" in text
    assert "| of it added by engine and transport |" in text
    assert "Load average" in text
    assert f"vivace bench live --over {' '.join(OVER)} --sessions 1 --duration 2.5 --fps 20" in text
    assert "--steps 1 --min-steps 1 --rewind" in text
    assert "late, 1.0 steps a chunk" in text
    assert "| prompt change to first frame |" in outcome.err


def test_a_sweep_is_one_table(run, toy_folder, tmp_path):
    words = ("--sweep", "--sessions", 2, 1, "--write", tmp_path, "--json")
    outcome = run("bench", "live", "--model", toy_folder, *FEW, *words)
    assert outcome.code == 0, outcome.err
    # a busy machine may not bear the second one
    assert [one["settings"]["num_sessions"] for one in outcome.report["runs"]] in ([1], [1, 2])
    (page,) = tmp_path.glob("*-live-*-sweep-*.md")
    text = page.read_text()
    assert "vivace bench live --sweep --sessions 2 1 --duration 2.5" in text
    assert "| 1 | " in text
    assert "Sessions at 20 frames a second, 64x48, 2.5 s each" in outcome.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--write", "nowhere/at/all"), "there is no folder"),
        (("--over", "websocket", "--duration", 1), "at least 1 session, 4 s"),
        (("--over", "process", "--sessions", 0), "at least 1 session"),
        (("--sweep", "--duration", 101), "at most 100 s for the whole sweep"),
        (("--over", "process", "--steps", 9), "1 to 8"),
        (("--over", "websocket", "--steps", 9), "1 to 8"),
        (("--over", "process", "--min-steps", 9), "1 to 8"),
        (("--over", "websocket", "--min-steps", 0), "1 to 8"),
        (("--over", "websocket", "--size", "70x50", "--duration", 9), "the model edits at 64x48"),
    ],
)
def test_bad_settings_are_one_sentence(run, toy_folder, words, sentence):
    outcome = run("bench", "live", "--model", toy_folder, *FEW, *words)
    assert outcome.code == 2
    assert sentence in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
