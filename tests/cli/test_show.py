"""`vivace models` and `vivace info`."""

import json

from small_clips import write_clip
from vivace.catalog.entries import MODELS


def test_models_lists_every_model_with_licence_size_and_source(run, tmp_path, monkeypatch):
    monkeypatch.setenv("VIVACE_HOME", str(tmp_path))
    listed = json.loads(run("models", "--json").out)
    assert [model["name"] for model in listed] == [entry.name for entry in MODELS]
    for model, entry in zip(listed, MODELS):
        assert model["licence"] == entry.licence
        assert model["is_bundled"] == (model["repository"] is None)
        assert model["size_mb"] > 1
        assert model["num_parameters"] > 100_000
    shown = run("models").out
    assert "tiny-edit: " in shown
    assert "pullable from Efficient-Large-Model/SANA-Streaming," in shown
    assert "2259.5 M parameters, 4.5 GB" in shown
    assert "licence: Apache-2.0" in shown


def test_info_describes_a_video(run, clip, tmp_path):
    shown = run("info", clip)
    assert shown.code == 0
    for fact in ("80x48", "25.000 frames per second", "0.52 s", "13 frames", "h264", "aac, 1 channels"):
        assert fact in shown.out
    info = json.loads(run("info", clip, "--json").out)
    assert (info["width_px"], info["height_px"], info["num_frames"]) == (80, 48, 13)
    assert info["fps"] == 25.0
    assert info["audio"][0]["codec"] == "aac"
    silent = write_clip(tmp_path / "silent.mp4", [0, 40, 200], has_sound=False)
    assert "(variable)" in run("info", silent).out
    assert json.loads(run("info", silent, "--json").out)["audio"] == []


def test_info_of_nothing_is_one_sentence(run, tmp_path):
    assert "no file at" in run("info", tmp_path / "no.mp4").sentence
