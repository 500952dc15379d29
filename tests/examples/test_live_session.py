"""The example of a live session, with a random model."""

import importlib.util
from pathlib import Path

import av

from small_clips import write_clip
from toy_model import write_toy_model
from vivace.catalog.editor import open_editor

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_session.py"


def test_a_clip_is_edited_live_and_the_instruction_changes(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("live_session", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    live_session = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(live_session)
    toy = write_toy_model(tmp_path / "toy")
    monkeypatch.setattr(
        live_session, "open_editor", lambda name, **rest: open_editor(toy, device="cpu", dtype="fp32", **rest)
    )
    clip = write_clip(tmp_path / "clip.mp4", [40 * index for index in range(40)])
    live_session.main(str(clip), str(tmp_path / "edited.mp4"))
    said = capsys.readouterr().out
    assert "'turn it into a pencil sketch' reached frame" in said
    assert "delay" in said
    with av.open(str(tmp_path / "edited.mp4")) as edited:
        # 1.6 s at 16 frames a second; a busy machine may drop some
        assert 8 < sum(1 for _ in edited.decode(video=0)) <= 26
