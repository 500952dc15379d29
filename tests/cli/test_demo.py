"""`vivace demo` writes a result, a comparison and a contact sheet, from whatever clip there is."""

import json

import pytest

from small_clips import read_clip
from vivace.cli import demo


def test_the_demo_writes_three_files_and_prints_the_figures(run, toy_folder, clip, tmp_path):
    folder = tmp_path / "out" / "demo"
    outcome = run("demo", clip, "-o", folder, "--model", toy_folder, "--threads", 1, "--json")
    assert outcome.code == 0
    assert {path.name for path in folder.iterdir()} == {"clip.mp4", "clip_compare.mp4", "clip.png"}
    assert len(read_clip(folder / "clip.mp4")[0]) == 13
    report = json.loads(outcome.out.splitlines()[-1])
    assert report["prompts"][0]["words"] == "make it a snowy night"
    for title in ("resolution", "first frame", "p99", "peak memory", "side by side", "contact sheet"):
        assert title in outcome.err


def test_the_clip_of_a_clone_is_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert demo.bundled_clip().is_file()


def test_an_installed_package_without_the_clip_says_so(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "CLONE", tmp_path)
    assert "vivace demo CLIP" in run("demo").sentence


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_made_is_one_sentence(run, clip, tmp_path, place):
    (tmp_path / "file").touch()
    assert "cannot create the folder" in run("demo", clip, "-o", tmp_path / place).sentence
