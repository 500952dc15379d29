"""Distils the small prompt encoder from a sentence encoder: loss and run; the corpus is in `teacher_corpus`.

Once where the teacher is at hand, then anywhere:

    python -m vivace.recipes.tiny_prompt_encoder --data DIR --teacher FOLDER --sentences FILE
    python -m vivace.recipes.tiny_prompt_encoder --data DIR --out DIR --minutes 4 --device cuda

The teacher is all-MiniLM-L6-v2 (Apache-2.0); `teacher_sentences` gathers what it reads. A corpus written with
`--tokenizer` of a saved encoder can go on from its weights with `--start-from`.
"""

import argparse
import random
import re
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.models.prompt_encoder import PromptEncoder, PromptEncoderSpec
from vivace.recipes.teacher_corpus import TeacherCorpus, prepare, read_tokenizer, train_tokenizer
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig, TrainResult

POLITE_STARTS = ("please", "can you", "could you please", "i want you to", "now", "let's", "just", "hey,")
ENDINGS = (".", "!", " please", "...")
DROPPABLE = re.compile("a|an|the|of|in|on|at|with|and|it|is|to|into|as|like|this", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyPromptEncoderConfig:
    """One distillation run.

    `pooled_weight` is of the loss on the mean of the word tokens, which keeps words and summary in one space;
    `relational_weight` is of the loss on similarities inside a batch. `corrupted_share` of the sentences are
    changed (typos, dropped words, politeness) while their target stays. The first `num_heldout` sentences are
    never seen. A batch comes from one of `num_length_groups` groups of like lengths, which saves padding.
    """

    spec: PromptEncoderSpec
    trainer: TrainerConfig
    batch_size: int
    pooled_weight: float = 0.3
    relational_weight: float = 5.0
    corrupted_share: float = 0.45
    num_heldout: int = 2000
    num_length_groups: int = 8


LEARNING_RATE = 2e-3


def tiny_prompt_encoder(
    minutes: float, *, is_on_gpu: bool, learning_rate: float = LEARNING_RATE
) -> TinyPromptEncoderConfig:
    """The run that made the bundled weights, cut to `minutes`; weights that go on want a lower peak rate."""
    return TinyPromptEncoderConfig(
        spec=PromptEncoderSpec(),
        trainer=TrainerConfig(
            num_train_steps=1_000_000,
            budget_minutes=minutes,
            learning_rate=learning_rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            warmup_steps=200,
            final_learning_rate_fraction=0.01,
            ema_decay=0.998,
            # PyTorch's bf16 attention backward is slower than fp32 on CPUs.
            autocast="bf16" if is_on_gpu else "none",
            log_every=200 if is_on_gpu else 20,
            save_every_minutes=None,
        ),
        batch_size=1024 if is_on_gpu else 128,
    )


class DistilObjective:
    """The loss of one batch: nearness of summary and mean word to the teacher, and likeness of similarities.

    Source: Park et al., Relational Knowledge Distillation, 2019 (similarities instead of distances).
    """

    def __init__(self, config: TinyPromptEncoderConfig, corpus: TeacherCorpus) -> None:
        self._config = config
        self._corpus = corpus
        seen = range(config.num_heldout, len(corpus.sentences))
        by_length = sorted(seen, key=lambda row: len(corpus.sentences[row]))
        size = max(1, -(-len(by_length) // config.num_length_groups))
        self._groups = [by_length[start : start + size] for start in range(0, len(by_length), size)]

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """Loss of the batch that belongs to this place in the run."""
        if not isinstance(model, PromptEncoder):
            raise TypeError(f"got a {type(model).__name__}, expected a PromptEncoder")
        config = self._config
        rng = random.Random(step_seed(config.trainer.seed, train_step, micro_batch))
        group = self._groups[rng.randrange(len(self._groups))]
        rows = rng.sample(group, min(config.batch_size, len(group)))
        sentences = [self._corpus.sentences[row] for row in rows]
        changed = [
            corrupt(text, rng) if rng.random() < config.corrupted_share else text for text in sentences
        ]
        target = self._corpus.vectors(torch.tensor(rows), model.position.device)
        summary, words = student_vectors(model, changed)
        to_summary = 1 - (summary * target).sum(-1).mean()
        to_words = 1 - (words * target).sum(-1).mean()
        with torch.autocast(summary.device.type, enabled=False):
            relational = (summary @ summary.T - target @ target.T).square().mean()
        return Loss(
            total=to_summary + config.pooled_weight * to_words + config.relational_weight * relational,
            parts={
                "summary": to_summary.detach(),
                "words": to_words.detach(),
                "relational": relational.detach(),
            },
            num_samples=len(rows),
        )


def student_vectors(
    model: PromptEncoder, sentences: Sequence[str]
) -> tuple[Float[Tensor, "b dim"], Float[Tensor, "b dim"]]:
    """Unit sentence vectors of the summary token and of the mean word token, with gradients."""
    encodings = model.tokenizer.encode_batch(list(sentences))
    ids, mask = model.pad_ids([encoding.ids for encoding in encodings])
    tokens = model(ids, mask)
    num_words = mask[:, 1:].sum(1, keepdim=True).clamp(min=1)
    both = torch.cat([tokens[:, 0], tokens[:, 1:].sum(1) / num_words])
    summary, words = F.normalize(model.to_sentence(both).float(), dim=-1).chunk(2)
    return summary, words


def corrupt(sentence: str, rng: random.Random) -> str:
    """The sentence as people type it: with a typo, without small words, with a polite start or an ending."""
    words = sentence.split()
    kind = rng.random()
    if kind < 0.45:
        place = rng.randrange(len(words))
        words[place] = misspell(words[place], rng)
    elif kind < 0.7 and len(words) > 3:
        words = [word for word in words if rng.random() < 0.4 or not DROPPABLE.fullmatch(word)] or words
    elif kind < 0.85:
        return sentence.rstrip(".!") + rng.choice(ENDINGS)
    else:
        return f"{rng.choice(POLITE_STARTS)} {sentence}"
    return " ".join(words)


def misspell(word: str, rng: random.Random) -> str:
    """The word with two letters swapped, one lost, one doubled or one replaced; short words stay."""
    if len(word) < 4:
        return word
    place = rng.randrange(1, len(word) - 1)
    head, letter, tail = word[:place], word[place], word[place + 1 :]
    swapped = head + tail[0] + letter + tail[1:]
    replaced = head + rng.choice(string.ascii_lowercase) + tail
    return rng.choice((swapped, head + tail, head + letter + letter + tail, replaced))


def new_student(config: TinyPromptEncoderConfig, corpus: TeacherCorpus) -> PromptEncoder:
    """An untrained encoder whose word embedding is the teacher's, cut to its principal axes."""
    torch.manual_seed(config.trainer.seed)
    model = PromptEncoder(config.spec, corpus.tokenizer)
    with torch.no_grad():
        model.embedding.weight.copy_(corpus.vocabulary / corpus.vocabulary.std())
    return model


def continued_student(config: TinyPromptEncoderConfig, corpus: TeacherCorpus, folder: Path) -> PromptEncoder:
    """The encoder saved in `folder`, to learn on from this corpus.

    Raises:
        InputError: If its sizes or its tokenizer are not those of the run and the corpus.
        ConfigError, WeightsError: If the folder holds no encoder (see `PromptEncoder.load`).
    """
    model = PromptEncoder.load(folder)
    if model.spec != config.spec:
        raise InputError(f"{folder} holds an encoder with {model.spec}, expected {config.spec}")
    if model.tokenizer.get_vocab() != corpus.tokenizer.get_vocab():
        raise InputError(
            f"the corpus was made with another tokenizer than that of {folder}; "
            f"write it again with --tokenizer {folder / 'tokenizer.json'}"
        )
    return model


@torch.no_grad()
def heldout_cosine(model: PromptEncoder, corpus: TeacherCorpus, num_heldout: int) -> float:
    """Mean cosine to the teacher over the sentences that training leaves out."""
    cosines: list[Tensor] = []
    for rows in torch.arange(num_heldout).split(256):
        summary, _ = student_vectors(model, [corpus.sentences[row] for row in rows.tolist()])
        cosines.append((summary * corpus.vectors(rows, summary.device)).sum(-1))
    return torch.cat(cosines).mean().item()


def train(
    config: TinyPromptEncoderConfig, data: Path, out: Path, device: str, start_from: Path | None = None
) -> tuple[PromptEncoder, TrainResult]:
    """Train, or resume in `out`, and write the encoder (averaged weights, if kept) to `out`/encoder.

    A run that is new in `out` begins with the encoder saved in `start_from`, or untrained.

    Raises:
        InputError: If `data` holds no corpus, or one that does not fit `start_from`.
    """
    corpus = TeacherCorpus.load(data)
    model = continued_student(config, corpus, start_from) if start_from else new_student(config, corpus)
    trainer = Trainer(config.trainer, model, DistilObjective(config, corpus), out, config, device)
    result = trainer.fit()
    model.load_state_dict(trainer.inference_weights())
    model.eval()
    model.save(out / "encoder")
    print(f"held-out cosine to the teacher: {heldout_cosine(model, corpus, config.num_heldout):.4f}")
    return model, result


def main() -> None:
    """The command line: write a corpus if a teacher is given, train if an output folder is given."""
    parser = argparse.ArgumentParser(description="Distil the small prompt encoder from a sentence encoder.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--teacher", type=Path, help="folder of the sentence encoder; writes the corpus")
    parser.add_argument("--sentences", type=Path, help="text file for the corpus, one sentence a line")
    parser.add_argument("--whole-words", type=Path, help="text file of words that are never split")
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.json to use for the corpus instead of a new one"
    )
    parser.add_argument("--out", type=Path, help="folder of the training run")
    parser.add_argument("--start-from", type=Path, help="folder of a saved encoder to go on from")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="peak learning rate")
    parser.add_argument("--minutes", type=float, default=4.0, help="training time")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train")
    given = parser.parse_args()
    if given.teacher and not given.sentences:
        parser.error("--teacher needs --sentences")
    if given.tokenizer and given.whole_words:
        parser.error("--whole-words is for a new tokenizer; leave it out with --tokenizer")
    if given.teacher:
        spec = PromptEncoderSpec()
        sentences = given.sentences.read_text(encoding="utf-8").splitlines()
        whole_words = given.whole_words.read_text(encoding="utf-8").split() if given.whole_words else []
        tokenizer = (
            read_tokenizer(given.tokenizer, spec.vocab_size)
            if given.tokenizer
            else train_tokenizer(sentences, spec.vocab_size, whole_words)
        )
        prepare(sentences, tokenizer, given.teacher, spec).save(given.data)
    if given.out:
        config = tiny_prompt_encoder(
            given.minutes, is_on_gpu=given.device == "cuda", learning_rate=given.learning_rate
        )
        train(config, given.data, given.out, given.device, given.start_from)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, "tiny_prompt_encoder"))
