"""Tuning the prompt encoder through the frozen editor, on a toy editor and a toy corpus."""

from dataclasses import replace

import torch

from toy_corpus import SENTENCES, SPEC, toy_corpus
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.recipes.teacher_corpus import train_tokenizer
from vivace.recipes.tiny_edit import InstructionBank
from vivace.recipes.tiny_prompt_tuning import PromptTuningObjective, prompt_tuning_run

RUN = replace(prompt_tuning_run(1.0), batch=6, num_pictures=4, sentence_batch=4, num_unseen_sentences=0)


def editor() -> StreamingDit:
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=1)
    built = StreamingDit(
        DitSpec(
            in_channels=4,
            out_channels=2,
            dim=16,
            num_heads=2,
            mlp_ratio=2,
            text_dim=SPEC.dim,
            mixers=hybrid_mixers(2, 1, GdnSpec(), softmax),
        )
    )
    torch.nn.init.normal_(built.final.weight, std=0.5)
    torch.nn.init.ones_(built.text_norm.weight)
    return built.eval()


def objective_and_encoder() -> tuple[PromptTuningObjective, PromptEncoder]:
    # every letter, so that every instruction can be read
    letters = (*SENTENCES, "the quick brown fox jumps over the lazy dog")
    tokenizer = train_tokenizer(letters, SPEC.vocab_size, ["watercolour"])
    corpus = replace(toy_corpus(), tokenizer=tokenizer)
    encoder = PromptEncoder(SPEC, corpus.tokenizer)
    known = InstructionBank.build(encoder, 2, 0, torch.device("cpu"))
    return PromptTuningObjective(RUN, editor(), torch.randn(4, 2, 1, 3, 4), known, corpus), encoder


def test_the_loss_is_a_function_of_the_train_step():
    objective, encoder = objective_and_encoder()
    assert torch.equal(objective(encoder, 3, 0).total, objective(encoder, 3, 0).total)
    assert not torch.equal(objective(encoder, 3, 0).total, objective(encoder, 4, 0).total)


def test_only_the_encoder_learns_and_it_follows_the_editor_better():
    objective, encoder = objective_and_encoder()
    before = sum(objective(encoder, 1000 + i, 0).parts["follow"].item() for i in range(4))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=5e-3)
    for step in range(30):
        optimizer.zero_grad()
        objective(encoder, step, 0).total.backward()
        optimizer.step()
    after = sum(objective(encoder, 1000 + i, 0).parts["follow"].item() for i in range(4))
    assert after < 0.9 * before
    assert all(not parameter.requires_grad for parameter in objective.editor.parameters())
