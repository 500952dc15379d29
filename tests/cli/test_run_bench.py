"""`vivace bench` prints, returns and writes the same measurement."""

import json

import pytest

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
    assert "--steps 2 3 --precisions fp32 bf16 --commit clean_pass --chunks 3 --warmup 1" in text
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
