"""The sound of a source: decoded when it is due, within bounds, whatever is sent."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from small_clips import write_clip, write_flashes
from vivace.data.audio_track import AudioPacket
from vivace.data.video_source import open_source
from vivace.server import source_sound
from vivace.server.sound import RATE_HZ
from vivace.server.source_sound import MAX_WAITING, SourceSound


def heard(path: Path, step_s: float = 0.1, **options) -> list[tuple[np.ndarray, float]]:
    """All pieces, asked for in steps."""
    pieces = []
    with open_source(path, has_audio=True, **options) as source:
        sound = SourceSound(source)
        for frame in source:
            sound.read()
            pieces += sound.take(float(frame.time_s))
        sound.read()
        end_s = float(source.end_s)
        for step in range(round(2 * end_s / step_s)):
            pieces += sound.take(step * step_s)
    return pieces


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le"), ("a.mkv", "libopus")])
def test_pieces_follow_each_other_and_stand_where_they_were_recorded(tmp_path, name, codec):
    pieces = heard(write_flashes(tmp_path / name, 2.2, codec=codec))
    ends_s = [at_s + len(samples) / RATE_HZ for samples, at_s in pieces]
    for (_, at_s), end_s in zip(pieces[1:], ends_s):
        assert at_s == pytest.approx(end_s, abs=0.002)
    assert pieces[0][1] == pytest.approx(0, abs=0.03)
    assert ends_s[-1] == pytest.approx(2.2, abs=0.05)
    whole = np.concatenate([samples for samples, _ in pieces])
    loud = np.flatnonzero(np.abs(whole[:, 0].astype(float)) > 2000) / RATE_HZ + pieces[0][1]
    for second in range(3):
        first_s = loud[loud > second - 0.1][0]
        assert first_s == pytest.approx(second, abs=0.01)


def test_nothing_comes_before_it_is_due(tmp_path):
    with open_source(write_flashes(tmp_path / "a.mp4", 1), has_audio=True) as source:
        sound = SourceSound(source)
        assert sound.next_s is None
        next(iter(source))
        sound.read()
        assert sound.take(-1.0) == []
        assert sound.next_s == pytest.approx(0, abs=0.03)
        pieces = sound.take(0.1)
        assert pieces
        assert all(at_s <= 0.1 for _, at_s in pieces)
        assert sound.next_s is None or sound.next_s > 0.1


def test_a_source_without_sound_gives_none(tmp_path):
    assert heard(write_clip(tmp_path / "a.mp4", [0, 40, 80], has_sound=False)) == []


def test_sound_of_another_rate_becomes_48_khz(tmp_path):
    pieces = heard(write_clip(tmp_path / "a.mp4", [40 * index for index in range(25)]))
    assert sum(len(samples) for samples, _ in pieces) == pytest.approx(RATE_HZ, rel=0.05)


def test_a_rate_that_nobody_records_stays_silent(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(source_sound, "LEAST_RATE_HZ", 50_000)
    assert heard(write_flashes(tmp_path / "a.mp4", 0.5)) == []
    assert "48000 Hz, which stays silent" in caplog.text


def test_damaged_packets_are_a_short_silence(tmp_path):
    with open_source(write_flashes(tmp_path / "a.mp4", 1), has_audio=True) as source:
        sound = SourceSound(source)
        for _ in source:
            pass
        packets = source.take_audio()
        for waiting in packets[5:10]:
            # a header of AAC that promises what is not there
            waiting.packet.update(b"\xff" * waiting.packet.size)
        source.take_audio = lambda: packets  # pyright: ignore[reportAttributeAccessIssue]
        sound.read()
        pieces = sound.take(2.0)
    assert sound.num_damaged > 0
    assert sum(len(samples) for samples, _ in pieces) > 0.5 * RATE_HZ


def test_what_waits_is_bounded():
    context = SimpleNamespace(sample_rate=RATE_HZ)
    packet = av.Packet(100)
    waiting = [AudioPacket(track=0, packet=packet, time_s=Fraction(n, 50)) for n in range(2 * MAX_WAITING)]
    source = SimpleNamespace(
        audio_streams=[SimpleNamespace(codec_context=context)], take_audio=lambda: waiting
    )
    sound = SourceSound(source)  # pyright: ignore[reportArgumentType]
    sound.read()
    assert sound.next_s == MAX_WAITING / 50


def test_a_source_keeps_the_newest_sound_that_nobody_takes(tmp_path):
    clip = write_flashes(tmp_path / "a.mkv", 2, codec="pcm_s16le")
    with open_source(clip, has_audio=True, max_audio_bytes=48_000) as source:
        for _ in source:
            pass
        packets = source.take_audio()
        assert source.take_audio() == []
    assert 40_000 < sum(waiting.packet.size for waiting in packets) <= 48_000
    assert float(packets[-1].time_s) > 1.9
