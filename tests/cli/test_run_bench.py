"""`vivace bench` prints, returns and writes the same measurement."""

import json

import pytest
import torch

from vivace.bench.end_to_end import RandomEditor
from vivace.bench.machine import Machine
from vivace.cli import run_bench_full

MACHINE = Machine(
    processor="ACME 9000",
    num_cores=2,
    num_threads=1,
    has_native_bf16=True,
    memory_gib=8.0,
    system="Linux x86_64",
    python="3.11.7",
    torch="2.13.0",
)
FEW = ("--chunks", 3, "--warmup", 1, "--threads", 1)


def test_bench_times_every_stage_for_every_precision_and_step_count(run, toy_folder, tmp_path):
    words = ("--precisions", "fp32", "bf16", "--steps", 2, 3, "--write", tmp_path, "--json")
    outcome = run("bench", toy_folder, *FEW, *words)
    assert outcome.code == 0
    result = json.loads(outcome.out)
    found = [(each["precision"], each["settings"]["num_denoising_steps"]) for each in result["runs"]]
    assert found == [("fp32", 2), ("fp32", 3), ("bf16", 2), ("bf16", 3)]
    assert result["machine"]["num_threads"] == 1
    assert result["runs"][0]["settings"]["width_px"] == 64
    (page,) = tmp_path.glob("*-1-threads.md")
    text = page.read_text()
    assert "64x48, bf16, 3 steps, clean_pass" in text
    assert "--steps 2 3 --precisions fp32 bf16 --chunks 3 --warmup 1" in text
    assert "frames per second" in outcome.err


def test_bench_prints_a_table_at_the_wanted_size(run, toy_folder):
    outcome = run("bench", toy_folder, *FEW, "--size", "32x16", "--random-weights", "--commit", "last_step")
    assert "32x16" in outcome.out
    assert "denoising step that commits" in outcome.out
    assert "end to end" in outcome.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--write", "nowhere/at/all"), "there is no folder"),
        (("--size", "33x16"), "not divisible by 16"),
        (("--steps", 0), "1 to 8"),
        (("--chunks", 0), "at least 1"),
        (("--threads", 0), "got 0 threads"),
    ],
)
def test_bad_settings_are_one_sentence(run, toy_folder, words, sentence):
    outcome = run("bench", toy_folder, *FEW, *words)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--random-weights", "--device", "cpu"), "timed on a GPU only"),
        (("--device", "cpu"), "add --random-weights"),
        (("--random-weights", "--write", "nowhere/at/all"), "there is no folder"),
        (("--random-weights", "--precisions", "fp32"), "expected bf16 or fp8"),
    ],
)
def test_the_full_size_model_says_what_it_needs(run, words, sentence):
    outcome = run("bench", "sana-streaming", *words)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_the_full_size_model_prints_and_writes_every_row(run, tmp_path, monkeypatch):
    """A toy in place of the model, on a CPU in place of the GPU, so without overlapping loops."""
    from tiny_ltx2 import SPEC as VAE_SPEC
    from tiny_sana import DIT_SPEC

    monkeypatch.setattr(run_bench_full, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(run_bench_full, "check_fp8", lambda _: None)
    monkeypatch.setattr(run_bench_full, "describe_machine", lambda _, **__: MACHINE)
    monkeypatch.setattr(
        run_bench_full,
        "RandomEditor",
        lambda _: RandomEditor(torch.device("cpu"), torch.float32, DIT_SPEC, VAE_SPEC),
    )
    options = ("--parts", "end_to_end", "--size", "64x64", "--steps", 2, "--chunks", 2, "--warmup", 1)
    options += ("--loops", "serial")
    outcome = run("bench", "sana-streaming", "--random-weights", *options, "--write", tmp_path, "--json")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    found = [(row["precision"], row["settings"]["commit"]) for row in result["end_to_end"]]
    assert found == [
        ("fp32", "clean_pass"),
        ("fp32", "last_step"),
        ("fp8", "clean_pass"),
        ("fp8", "last_step"),
    ]
    assert result["runs"] == []
    (page,) = tmp_path.glob("*.md")
    text = page.read_text()
    assert "at commit " in text
    assert "cuDNN" in text
    assert text.count("| 64x64 | 1 |") == 4
    assert "--random-weights --steps 2 --precisions auto --parts end_to_end" in text
