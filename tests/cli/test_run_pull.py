"""`vivace pull` and then `vivace edit` from a user's side, with a hub on loopback."""

import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

pytest.importorskip("huggingface_hub")

from fake_hub import FakeHub, fake_hub
from small_clips import read_clip, write_clip
from tiny_sana import DIT_FILE, as_pth, official_dit, sana_repositories, tiny_entry
from vivace.catalog import entries
from vivace.catalog.pull import PullPlan, PullWatcher
from vivace.cli import run_pull, show

SANA = "Efficient-Large-Model/SANA-Streaming"


@pytest.fixture
def hub(gemma_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with the toy under the name of the real model, and an empty home."""
    tiny = tiny_entry()
    others = [entry for entry in entries.MODELS if entry.name != tiny.name]
    monkeypatch.setattr(entries, "MODELS", (*others, tiny))
    monkeypatch.setenv("VIVACE_HOME", str(tmp_path / "home"))
    with fake_hub() as hub:
        hub.repositories = sana_repositories(gemma_folder)
        monkeypatch.setenv("VIVACE_HUB_ENDPOINT", hub.endpoint)
        yield hub


def test_pull_once_then_edit_without_a_network(hub, run, tmp_path, monkeypatch):
    pulled = run("pull", "sana-streaming")
    assert pulled.code == 0
    folder = tmp_path / "home" / "models" / "sana-streaming"
    assert "sana-streaming is ready: 0.00 GB in " in pulled.out
    assert str(folder) in pulled.out
    for shown in ("licence: ", "apache-2.0", "gemma (http", f"to fetch, into {folder}"):
        assert shown in pulled.err
    monkeypatch.setenv("VIVACE_HUB_ENDPOINT", "http://127.0.0.1:9")
    again = run("pull", "sana-streaming", "--json")
    assert again.code == 0
    assert again.err == ""
    assert again.report["was_there"]
    assert again.report["folder"] == str(folder)
    assert {source["repository"] for source in again.report["sources"]} == set(hub.repositories)
    monkeypatch.setattr(show, "MODELS", entries.MODELS)
    assert f"pulled to {folder}" in run("models").out
    clip = write_clip(tmp_path / "in.mp4", [40 * i for i in range(20)])
    out = tmp_path / "out.mp4"
    common = ("--model", "sana-streaming", "--threads", 1, "--precision", "fp32", "--device", "cpu", "--json")
    edited = run("edit", clip, "-p", "make it snow", "-o", out, "--size", "64x64", "--quiet", *common)
    assert edited.code == 0, edited.err
    assert (edited.report["frames_in"], edited.report["frames_out"]) == (20, 20)
    assert (edited.report["width"], edited.report["height"]) == (64, 64)
    assert (edited.report["steps"], edited.report["commit"]) == (4, "clean_pass")
    times, _ = read_clip(out)
    assert len(times) == 20


def test_a_first_pull_as_json_is_one_line_of_it(hub, run):
    outcome = run("pull", "sana-streaming", "--json", "--quiet")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 1
    assert not json.loads(outcome.out)["was_there"]


def test_tensors_that_nobody_knows_are_a_note(hub, run):
    content = {**official_dit(), "lora.weight": torch.zeros(2)}
    hub.repositories[SANA].files[DIT_FILE] = as_pth(content)
    outcome = run("pull", "sana-streaming", "--json")
    assert outcome.code == 0
    assert "lora.weight" in outcome.report["notes"][0]
    assert outcome.err.splitlines()[-1].startswith(f"vivace: {SANA}/{DIT_FILE} holds lora.weight")


def test_what_stops_a_pull_is_one_sentence_and_2(hub, run, monkeypatch):
    assert "nothing to pull" in run("pull", "tiny-edit").sentence
    assert "unknown model 'huge'" in run("pull", "huge").sentence
    hub.repositories[SANA].is_gated = True
    assert "is gated: accept its licence at" in run("pull", "sana-streaming").sentence
    hub.repositories.clear()
    assert "there is no repository" in run("pull", "sana-streaming").sentence
    monkeypatch.setenv("VIVACE_HUB_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot reach" in run("pull", "sana-streaming").sentence
    monkeypatch.setenv("VIVACE_HUB_ENDPOINT", "nowhere")
    assert "expected an http or https address" in run("pull", "sana-streaming").sentence


def test_a_damaged_file_is_one_sentence_after_the_plan(hub, run):
    content = bytearray(hub.repositories[SANA].files[DIT_FILE])
    content[1000] ^= 1
    hub.replaced = {DIT_FILE: bytes(content)}
    outcome = run("pull", "sana-streaming")
    assert outcome.code == 2
    assert "arrived damaged" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err


def test_in_a_terminal_a_bar_shows_the_bytes(tmp_path):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    plan = PullPlan(
        folder=tmp_path,
        store=tmp_path,
        licences=("a: mit",),
        parts=(),
        num_bytes=2_000_000,
        num_missing_bytes=1,
    )
    with run_pull._Progress(tiny_entry(), console, False) as progress:
        progress.begins(plan)
        progress.advances(1_500_000)
        progress.advances(-500_000)
        progress._bar.refresh()
        assert "1.0/2.0 MB" in shown.getvalue()
        progress.works_on("converting the video VAE")
        progress._bar.refresh()
    assert "converting the video VAE" in shown.getvalue()
    assert "a: mit" in shown.getvalue()


def test_ctrl_c_says_that_nothing_is_lost(hub, run, monkeypatch):
    def stop(self: PullWatcher, num_bytes: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_pull._Progress, "advances", stop)
        outcome = run("pull", "sana-streaming")
    assert outcome.code == 130
    assert "`vivace pull sana-streaming` goes on from there" in outcome.err
    assert run("pull", "sana-streaming").code == 0


def test_an_edit_before_the_pull_names_the_command(hub, run, tmp_path):
    clip = write_clip(tmp_path / "in.mp4", [0, 40])
    words = ("edit", clip, "-p", "x", "-o", tmp_path / "out.mp4", "--model", "sana-streaming")
    assert "fetch them once with: vivace pull sana-streaming" in run(*words).sentence
    assert not (tmp_path / "out.mp4").exists()


def test_a_large_model_without_a_gpu_warns_in_a_sentence(hub, run, tmp_path, monkeypatch):
    run("pull", "sana-streaming")
    monkeypatch.setattr("vivace.catalog.load.LARGE_BYTES", 1000)
    monkeypatch.setattr("vivace.catalog.needs.tflop_per_second", lambda _: 1e-6)
    clip = write_clip(tmp_path / "in.mp4", [0, 40])
    words = ("-p", "x", "-o", tmp_path / "out.mp4", "--size", "64x64", "--device", "cpu", "--quiet")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = run("edit", clip, *words, "--model", "sana-streaming", "--precision", "fp32")
    assert outcome.code == 0
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("vivace: sana-streaming runs without a GPU here: about 0 GB of memory and about ")
    assert len(read_clip(tmp_path / "out.mp4")[0]) == 2
