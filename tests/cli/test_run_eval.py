"""`vivace eval` writes, prints and returns the same measurement."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vivace.models.perceptual import Lpips


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file({name: x.contiguous() for name, x in Lpips().state_dict().items()}, path)
    return path


def words(toy_folder, clip, weights):
    return ("eval", toy_folder, "--clips", clip.parent, "--lpips", weights, "--size", "64x48", "--threads", 1)


def test_eval_writes_report_tables_and_a_sheet(run, toy_folder, clip, weights, tmp_path):
    families = ("night", "snow", "remove_ball")
    options = ("--parts", "reconstruction", "fidelity", "local", "--families", *families, "--frames", 5)
    outcome = run(*words(toy_folder, clip, weights), *options, "--out", tmp_path / "new", "--json")
    assert outcome.code == 0
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert outcome.report == report
    assert [row["family"] for row in report["fidelity"]] == ["night", "snow"]
    assert [row["family"] for row in report["local"]] == ["remove_ball"]
    assert "| night | 1 |" in (tmp_path / "new" / "report.md").read_text()
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width > 2 * 200
        assert sheet.height > 3 * 150
    assert "night" in outcome.err


def test_eval_in_fp8_says_what_it_needs(run, toy_folder, clip, weights):
    options = ("--parts", "reconstruction", "--precision", "fp8", "--device", "cpu")
    outcome = run(*words(toy_folder, clip, weights), *options)
    assert outcome.code == 2
    assert outcome.sentence.startswith("vivace: fp8 needs a CUDA GPU")


def test_without_lpips_weights_the_sentence_names_the_command_that_makes_them(
    run, toy_folder, clip, tmp_path
):
    outcome = run("eval", toy_folder, "--clips", clip.parent, "--lpips", tmp_path / "none.safetensors")
    assert "python -m vivace.recipes.lpips_weights --out" in outcome.sentence


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--size", "60x48"), "multiples of 16"),
        (("--frames", 0), "got --frames 0"),
        (("--families", "nigth"), "'nigth'"),
        (("--only", "nowhere"), "there is no clip 'nowhere'"),
        (("--clips", "no/folder"), "holds no footage"),
    ],
)
def test_bad_options_are_one_sentence(run, toy_folder, clip, weights, options, sentence):
    outcome = run(*words(toy_folder, clip, weights), *options)
    assert outcome.code == 2
    assert sentence in outcome.sentence
