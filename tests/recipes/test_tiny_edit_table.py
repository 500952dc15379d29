"""The table tells samplers apart that reach the target, do nothing or go elsewhere, and keeps what it has."""

import json

import numpy as np
import pytest
import torch

from vae_runs import small_lpips
from vivace.catalog.model_folder import BUNDLED
from vivace.core.errors import InputError
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import IDENTITY, family_named
from vivace.models.video_vae import VideoVae
from vivace.recipes import tiny_edit_table
from vivace.recipes.tiny_edit_table import Arguments, Comparison, StageScore, as_markdown, main

SEPIA = family_named("sepia")


def scored(sampler: str, family: str, edit: float) -> StageScore:
    return StageScore(
        sampler=sampler, family=family, lpips_edit=edit, lpips_source=0.5, latent_error=0.1, motion=1.0
    )


class Editor:
    """Stands where a model would; hears every sentence as one word."""

    class prompts:
        @staticmethod
        def tokenize(words: str) -> list[int]:
            return [len(words)]


@pytest.fixture(scope="module")
def comparison():
    pictures = np.random.default_rng(0).integers(0, 255, (5, 6, 10, 3), dtype=np.uint8)
    clips = ClipStore([("noise", "clip", pictures.repeat(32, 1).repeat(32, 2))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_edit_table, "NUM_RAW_FRAMES", 5)
        return Comparison(clips, VideoVae.load(BUNDLED / "video_vae", torch.float32), small_lpips(), 1)


def test_the_target_scores_nothing_the_source_one_and_what_is_far_more(comparison):
    target = comparison._encode(SEPIA.edit(comparison.video, tiny_edit_table.SEED))
    scores = {
        name: comparison.score("student", sampler, Editor(), SEPIA)
        for name, sampler in {
            "target": lambda noise, source, ids: target,
            "source": lambda noise, source, ids: source,
            "noise": lambda noise, source, ids: noise * 3,
        }.items()
    }
    assert scores["target"].ratio == pytest.approx(0, abs=1e-6)
    assert scores["target"].latent_error == pytest.approx(0, abs=1e-6)
    assert scores["target"].motion == pytest.approx(1)
    assert scores["source"].ratio == pytest.approx(1)
    assert scores["source"].latent_error > 0
    assert scores["noise"].ratio > 1


def test_a_line_has_the_means_over_families_and_names_the_worst():
    made = [scored("student", "sepia", 0.1), scored("student", "red", 0.3)]
    assert as_markdown(made).splitlines()[-1] == "| student | 0.400 | 0.600 (red) | 0.1000 | 1.000 |"


def test_scores_are_on_disk_after_each_sampler(tmp_path, monkeypatch, capsys):
    class Stopped(Exception):
        pass

    class Scores:
        def __init__(self, *given: object) -> None: ...

        def score(self, name, sampler, editor, family):
            if name == "student, 2 steps":
                raise Stopped
            return scored(name, family.name, 0.1)

    class Part:
        @staticmethod
        def load(*given: object):
            return torch.nn.Identity()

    for name in ("VideoVae", "Lpips", "InstructedEditor", "ClipStore"):
        monkeypatch.setattr(tiny_edit_table, name, Part)
    monkeypatch.setattr(tiny_edit_table, "Comparison", Scores)
    monkeypatch.setattr(tiny_edit_table, "FAMILIES", (IDENTITY, SEPIA))
    out = tmp_path / "new" / "table.json"
    arguments = Arguments(
        clips=tmp_path, vae=tmp_path, lpips=tmp_path, out=out, student=tmp_path, device="cpu"
    )
    with pytest.raises(Stopped):
        main(arguments)
    (row,) = json.loads(out.read_text())
    assert (row["sampler"], row["family"], row["ratio"]) == ("student, 4 steps", "sepia", 0.2)
    assert "student, 4 steps: sepia: ratio 0.200" in capsys.readouterr().err


def test_nothing_to_compare_is_said_before_anything_is_loaded_or_written(tmp_path):
    nowhere = tmp_path / "none"
    arguments = Arguments(clips=nowhere, vae=nowhere, lpips=nowhere, out=tmp_path / "new" / "t.json")
    with pytest.raises(InputError, match="expected --teacher, --causal or --student"):
        main(arguments)
    assert not (tmp_path / "new").exists()


def test_clips_that_are_too_short_are_refused():
    short = ClipStore([("short", "clip", np.zeros((5, 192, 320, 3), dtype=np.uint8))])
    with pytest.raises(InputError, match="0 clips of 49 raw frames"):
        Comparison(short, VideoVae.load(BUNDLED / "video_vae", torch.float32), small_lpips(), 1)
