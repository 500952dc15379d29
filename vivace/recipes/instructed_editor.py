"""The editor and its prompt encoder as one trained module, and the sentences that a train step may say."""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.config import read_config, write_config
from vivace.data.edit_pairs import FamilyPair
from vivace.data.instructions import sample_instruction
from vivace.data.more_phrasings import more_phrasings, sample_phrasing
from vivace.data.training_pairs import ALL, TrainingFamily
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.shards import export_weights, load_sharded, shard_paths
from vivace.models.streaming_dit import DitSpec, StreamingDit
from vivace.recipes.teacher_corpus import TeacherCorpus
from vivace.recipes.tiny_prompt_encoder import corrupt, student_vectors

WEIGHTS_PREFIX = "dit"
HEAD_PREFIX = "head"
SPEC_NAME = "dit.json"
ENCODER_FOLDER = "prompt_encoder"
FAMILY_NUMBERS = {family.name: number for number, family in enumerate(ALL)}


class InstructedEditor(nn.Module):
    """A streaming DiT, the prompt encoder it listens to, and a head that is only there while training.

    The head names the family that a sentence asks for, so that sentences of one family come to lie together.
    """

    def __init__(self, dit: StreamingDit, prompts: PromptEncoder) -> None:
        super().__init__()
        self.dit = dit
        self.prompts = prompts
        self.family_head = nn.Linear(2 * prompts.spec.dim, len(ALL))

    def naming_loss(
        self,
        tokens: Float[Tensor, "b m dim"],
        mask: Bool[Tensor, "b m"],
        families: Sequence[TrainingFamily],
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the family that each sentence asks for, from its token features."""
        mean = tokens.sum(1) / mask.sum(1, keepdim=True)
        named = self.family_head(torch.cat([tokens[:, 0], mean], dim=-1))
        wanted = torch.tensor([FAMILY_NUMBERS[each.name] for each in families], device=named.device)
        return F.cross_entropy(named.float(), wanted, label_smoothing=0.05)

    def encode(
        self, ids: Int64[Tensor, "b m"], mask: Bool[Tensor, "b m"]
    ) -> tuple[Float[Tensor, "b n dim"], Bool[Tensor, "b n"]]:
        """Features padded with zeros to the encoder's fixed length, as at inference, with gradients."""
        missing = self.prompts.spec.num_tokens - ids.shape[1]
        return F.pad(self.prompts(ids, mask), (0, 0, 0, missing)), F.pad(mask, (0, missing))

    def fix_words(self) -> None:
        """Let only the DiT learn: the words mean what they meant."""
        self.prompts.requires_grad_(False)
        self.family_head.requires_grad_(False)

    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write `dit` (bf16), its spec, the prompt encoder (fp16) and the head (fp32) to a folder for `load`.

        Only a later stage needs the head.
        """
        parts = {name: _under(name, weights) for name in ("dit", "prompts", "family_head")}
        export_weights(parts["dit"], folder / WEIGHTS_PREFIX, "bf16")
        write_config(self.dit.spec, folder / SPEC_NAME)
        export_weights(parts["family_head"], folder / HEAD_PREFIX, "fp32")
        before = {name: value.detach().clone() for name, value in self.prompts.state_dict().items()}
        self.prompts.load_state_dict(parts["prompts"])
        self.prompts.save(folder / ENCODER_FOLDER)
        self.prompts.load_state_dict(before)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `export` wrote, in fp32 on the CPU; a new head where the folder has none of as many families.

        Raises:
            ConfigError, WeightsError: If a part is missing or does not fit.
        """
        dit = StreamingDit(read_config(DitSpec, folder / SPEC_NAME))
        dit.load_state_dict(load_sharded(folder, WEIGHTS_PREFIX))
        editor = cls(dit, PromptEncoder.load(folder / ENCODER_FOLDER).float())
        if shard_paths(folder, HEAD_PREFIX):
            head = load_sharded(folder, HEAD_PREFIX)
            if head["weight"].shape == editor.family_head.weight.shape:
                editor.family_head.load_state_dict(head)
        return editor


def _under(part: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): x for name, x in weights.items() if name.startswith(f"{part}.")}


@dataclass(frozen=True, slots=True)
class InstructionBank:
    """Word-piece ids of training instructions of every family, as people type them."""

    sentences: dict[str, tuple[tuple[int, ...], ...]] = field(hash=False)

    @classmethod
    def build(cls, encoder: PromptEncoder, per_family: int, seed: int) -> Self:
        """Draw `per_family` instructions of every family: half in training wordings, half in further ones.

        No further one comes twice before all came once. A quarter is corrupted by typos, lost small words or
        politeness.
        """
        rng = random.Random(seed)
        sentences: dict[str, tuple[tuple[int, ...], ...]] = {}
        for family in ALL:
            further = _further(family, rng)
            drawn = [
                sample_instruction(family, rng, "train") if number % 2 else next(further)
                for number in range(per_family)
            ]
            dressed = [corrupt(each, rng) if rng.random() < 0.25 else each for each in drawn]
            sentences[family.name] = tuple(tuple(encoder.tokenize(each)) for each in dressed)
        return cls(sentences)

    def draw(self, family: TrainingFamily, rng: random.Random) -> list[int]:
        """The ids of one sentence that asks for a family."""
        return list(rng.choice(self.sentences[family.name]))


def _further(family: TrainingFamily, rng: random.Random) -> Iterator[str]:
    """Further wordings without end."""
    if isinstance(family, FamilyPair):
        while True:
            yield sample_phrasing(family, rng)
    lines = list(more_phrasings(family))
    while True:
        rng.shuffle(lines)
        yield from lines


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsConfig:
    """How the prompt encoder learns beside the flow loss.

    Attributes:
        batch: Sentences a train step that are named by family and held near where they were.
        naming_weight: Factor of the loss that names the family of a sentence.
        anchor_weight: Factor of the loss that keeps token features near those the encoder started with.
        sentence_batch: Sentences of the encoder's own teacher a train step.
        sentence_weight: Factor of their loss.
    """

    batch: int = 192
    naming_weight: float = 0.1
    anchor_weight: float = 0.05
    sentence_batch: int = 96
    sentence_weight: float = 0.2


class WordsObjective:
    """What keeps the meaning of words while the prompt encoder learns with the editor."""

    def __init__(
        self,
        config: WordsConfig,
        encoder: PromptEncoder,
        device: torch.device,
        corpus: TeacherCorpus | None = None,
    ) -> None:
        """`encoder` is copied as it is now; `corpus` holds sentences with its own teacher's vectors."""
        self.config = config
        self.anchor = copy.deepcopy(encoder).to(device).requires_grad_(False)
        self.corpus = corpus

    def __call__(
        self,
        model: InstructedEditor,
        families: Sequence[TrainingFamily],
        bank: InstructionBank,
        rng: random.Random,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss of one sentence for each family, and its parts."""
        config = self.config
        ids, mask = model.prompts.pad_ids([bank.draw(family, rng) for family in families])
        tokens = model.prompts(ids, mask)
        with torch.no_grad():
            before = self.anchor(ids, mask)
        moved = (tokens.float() - before.float()).square().mean()
        naming = model.naming_loss(tokens, mask, families)
        total = config.naming_weight * naming + config.anchor_weight * moved
        parts = {"naming": naming.detach(), "moved": moved.detach()}
        if self.corpus is not None:
            sentence = sentence_loss(model.prompts, self.corpus, config.sentence_batch, rng)
            total, parts["sentence"] = total + config.sentence_weight * sentence, sentence.detach()
        return total, parts


def sentence_loss(
    encoder: PromptEncoder, corpus: TeacherCorpus, num_sentences: int, rng: random.Random
) -> Float[Tensor, ""]:
    """Distance in [0, 2] of the encoder's sentence vectors from its own teacher's."""
    rows = rng.sample(range(len(corpus.sentences)), num_sentences)
    target = corpus.vectors(torch.tensor(rows), encoder.position.device)
    summary, average = student_vectors(encoder, [corpus.sentences[row] for row in rows])
    return (2 - (summary * target).sum(-1).mean() - (average * target).sum(-1).mean()) / 2
