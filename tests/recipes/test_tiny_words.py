from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vivace.catalog.model_folder import BUNDLED
from vivace.data.clips import ClipStore
from vivace.data.training_pairs import training_family_named
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import StreamingDit
from vivace.models.video_vae import VideoVae
from vivace.recipes.edit_pool import EditPools
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank
from vivace.recipes.tiny_edit import tiny_edit_spec
from vivace.recipes.tiny_words import Listener, ListeningObjective, WordsRun, words_run
from vivace.training.trainer import Trainer

FAMILIES = tuple(training_family_named(name) for name in ("night", "snow", "add_red_ball_left"))


def run(**changes: object) -> WordsRun:
    small = replace(words_run(1.0, 2), batch=2, num_asked=5, num_plain=3, height_px=32, width_px=64)
    return replace(small, num_raw_frames=5, **changes)


@pytest.fixture(scope="module")
def editor() -> InstructedEditor:
    prompts = PromptEncoder.load(BUNDLED / "prompt_encoder").float()
    torch.manual_seed(0)
    dit = StreamingDit(replace(tiny_edit_spec(48, prompts.spec.dim), dim=32, num_heads=2))
    return InstructedEditor(dit.requires_grad_(False), prompts)


@pytest.fixture(scope="module")
def vae() -> VideoVae:
    return VideoVae.load(BUNDLED / "video_vae").requires_grad_(False)


@pytest.fixture(scope="module")
def clips() -> ClipStore:
    frames = np.random.default_rng(0).integers(0, 255, (9, 64, 96, 3), dtype=np.uint8)
    return ClipStore([("noise", "clip", frames)])


def test_what_a_family_hears_is_what_its_blocks_take_from_plain_words(editor, vae, clips):
    listener = Listener(editor, run())
    hearing = listener.hearing(FAMILIES[0], clips, vae)
    again = listener.hearing(FAMILIES[0], clips, vae)
    other = listener.hearing(FAMILIES[1], clips, vae)
    assert hearing.asked.shape == hearing.answer.shape == (6, 5, 32)
    assert torch.equal(hearing.asked, again.asked)
    assert not torch.equal(hearing.answer, other.answer)
    assert not any(block.cross._forward_pre_hooks for block in editor.dit.blocks)
    # the answer that is put together here is what a block's cross-attention gives
    text = listener.embed(editor, [editor.prompts.tokenize("make it night")])
    block = editor.dit.blocks[2]
    nothing_hidden = torch.zeros(1, 1, 1, text.mask.shape[1]).masked_fill(~text.mask, float("-inf"))
    direct = block.cross(hearing.asked[None, 2, None], text.keys[2], text.values[2], nothing_hidden)
    assert torch.allclose(listener.answers(hearing.asked[None], text)[0, 2], direct[0, 0], atol=1e-6)


def test_wordings_are_led_to_the_plain_answer_and_the_editor_stays(
    editor, vae, clips, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("vivace.recipes.instructed_editor.ALL", FAMILIES)
    given = run(naming_weight=0.0, anchor_weight=0.0, sentence_weight=0.0)
    given = replace(
        given, trainer=replace(given.trainer, num_train_steps=40, budget_minutes=None, warmup_steps=1)
    )
    listener = Listener(editor, given)
    hearings = {family.name: listener.hearing(family, clips, vae) for family in FAMILIES}
    bank = InstructionBank.build(editor.prompts, 4, 0)
    pools = EditPools(given.pool, clips, vae, 0)
    order = iter(range(10**6))
    monkeypatch.setattr(pools, "draw_family", lambda rng: FAMILIES[next(order) % 3])
    monkeypatch.setattr(
        "vivace.recipes.tiny_words.sentence_loss", lambda encoder, *_: encoder.position.sum() * 0
    )
    objective = ListeningObjective(given, pools, bank, listener, hearings, corpus=None)
    before = {name: value.clone() for name, value in editor.state_dict().items()}
    first = float(objective(editor, 0, 0).parts["missed"])
    result = Trainer(given.trainer, editor, objective, tmp_path / "run", given, "cpu").fit()
    assert result.final_parts["missed"] < 0.5 * first
    after = editor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("dit."))
    assert not torch.equal(before["prompts.position"], after["prompts.position"])
