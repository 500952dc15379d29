"""Tune the prompt encoder through the frozen editor: other words for an edit must move the video alike.

python -m vivace.recipes.tiny_prompt_tuning --clips CLIPS --vae VAE --dit DIT --prompts ENCODER \
    --corpus TEACHER --out RUN
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.config import read_config
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.data.edit_pairs import FAMILIES, PAIRS, EditFamily, FamilyPair
from vivace.data.instructions import sample_instruction
from vivace.data.more_phrasings import sample_phrasing
from vivace.diffusion.flow import add_noise, clean_from_velocity
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.shards import load_sharded
from vivace.models.streaming_dit import DitSpec, StreamingDit
from vivace.models.video_vae import VideoVae
from vivace.recipes.teacher_corpus import TeacherCorpus
from vivace.recipes.tiny_edit import SPEC_NAME, WEIGHTS_PREFIX, InstructionBank
from vivace.recipes.tiny_prompt_encoder import corrupt, student_vectors
from vivace.training.objective import Loss
from vivace.training.trainer import Trainer, TrainerConfig

Latent = Float[Tensor, "b c t h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTuningRun:
    """The whole run.

    Attributes:
        batch: Instructions a train step, each with a picture of its own.
        num_pictures: Source pictures, encoded once.
        pair_share: Share of instructions that ask for two edits.
        known_share: Share of instructions in wordings that the editor was trained on.
        corrupted_share: Share of instructions with a typo or without small words.
        sentence_batch: Sentences of the teacher's corpus a train step, so that meaning is not forgotten.
        sentence_weight: Factor of their loss.
        num_unseen_sentences: Sentences at the head of the corpus that are kept for measuring.
        known_per_family: Instructions the editor was trained on, any of which may serve as the reference.
    """

    trainer: TrainerConfig
    batch: int = 20
    num_pictures: int = 192
    height_px: int = 96
    width_px: int = 160
    pair_share: float = 0.2
    known_share: float = 0.35
    corrupted_share: float = 0.25
    sentence_batch: int = 48
    sentence_weight: float = 0.5
    num_unseen_sentences: int = 2_000
    known_per_family: int = 24


def prompt_tuning_run(minutes: float) -> PromptTuningRun:
    """A run for a CPU; the bundled encoder was not tuned yet (LOG.md, 2026-11-20)."""
    return PromptTuningRun(
        trainer=TrainerConfig(
            num_train_steps=100_000,
            learning_rate=6e-4,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            warmup_steps=50,
            final_learning_rate_fraction=0.02,
            ema_decay=0.99,
            log_every=20,
            save_every_minutes=None,
            budget_minutes=minutes,
        )
    )


class PromptTuningObjective:
    """Difference between the editor's answer to new words and to words it was trained on, for one edit."""

    def __init__(
        self,
        run: PromptTuningRun,
        editor: StreamingDit,
        pictures: Latent,
        known: InstructionBank,
        corpus: TeacherCorpus,
    ) -> None:
        """`known` holds features of the encoder that the editor was trained with; the editor stays frozen."""
        self._run = run
        self.editor = editor.requires_grad_(False)
        self._pictures = pictures
        self._known = known
        self._corpus = corpus

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """The loss of the batch that belongs to this place in the run."""
        if not isinstance(model, PromptEncoder):
            raise TypeError(f"got a {type(model).__name__}, expected a PromptEncoder")
        run = self._run
        seed = mix_seed(run.trainer.seed, train_step, micro_batch)
        rng = random.Random(seed)
        families = [
            rng.choice(PAIRS if rng.random() < run.pair_share else FAMILIES) for _ in range(run.batch)
        ]
        words = [self._words(family, rng) for family in families]
        words = [corrupt(each, rng) if rng.random() < run.corrupted_share else each for each in words]
        rows = torch.tensor([rng.choice(self._known.rows[family.name]) for family in families])
        source = self._pictures[torch.tensor([rng.randrange(len(self._pictures)) for _ in families])]
        noise = torch.randn(source.shape, generator=torch.Generator().manual_seed(seed))
        sigma = torch.tensor([[rng.choice((1.0, *SANA_STREAMING_4_STEPS))] for _ in families])

        with torch.no_grad():
            known = self._known.features[rows], self._known.mask[rows]
            first = self._velocity(noise, source, torch.ones_like(sigma), *known)
            clean = clean_from_velocity(noise, first, torch.ones_like(sigma))
            x = add_noise(clean, noise, sigma)
            wanted = self._velocity(x, source, sigma, *known)
        ids, mask = model.pad_ids([model.tokenize(each) for each in words])
        given = self._velocity(x, source, sigma, model(ids, mask), mask)
        follow = (given - wanted).square().mean()
        sentence = self._sentence_loss(model, rng)
        parts = {"follow": follow.detach(), "sentence": sentence.detach()}
        return Loss(total=follow + run.sentence_weight * sentence, parts=parts, num_samples=run.batch)

    def _words(self, family: EditFamily | FamilyPair, rng: random.Random) -> str:
        if rng.random() < self._run.known_share:
            return sample_instruction(family, rng, "train")
        return sample_phrasing(family, rng)

    def _velocity(self, x: Latent, source: Latent, sigma: Tensor, features: Tensor, mask: Tensor) -> Latent:
        # the encoder pads with zeros to a fixed length, as at inference
        missing = self._known.features.shape[1] - features.shape[1]
        text = self.editor.embed_text(F.pad(features, (0, 0, 0, missing)), F.pad(mask, (0, missing)))
        return self.editor(torch.cat([x, source], dim=1), sigma, text, write=False)[0]

    def _sentence_loss(self, model: PromptEncoder, rng: random.Random) -> Tensor:
        seen = range(self._run.num_unseen_sentences, len(self._corpus.sentences))
        rows = rng.sample(seen, self._run.sentence_batch)
        target = self._corpus.vectors(torch.tensor(rows), torch.device("cpu"))
        summary, average = student_vectors(model, [self._corpus.sentences[row] for row in rows])
        return (2 - (summary * target).sum(-1).mean() - (average * target).sum(-1).mean()) / 2


@torch.no_grad()
def encode_pictures(vae: VideoVae, clips: ClipStore, run: PromptTuningRun) -> Latent:
    """Source latents of single raw frames."""
    video = clips.sample(run.trainer.seed, run.num_pictures, 1, run.height_px, run.width_px)
    return torch.cat([vae.encode(part * 2 - 1, None)[0] for part in video.split(16)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Tune the prompt encoder through the frozen editor."""

    clips: Path
    vae: Path
    dit: Path
    prompts: Path
    corpus: Path
    out: Path
    minutes: float = 15.0


def main(arguments: Arguments) -> None:
    """Train on the CPU and write the encoder to `out/encoder`."""
    run = prompt_tuning_run(arguments.minutes)
    editor = StreamingDit(read_config(DitSpec, arguments.dit / SPEC_NAME))
    editor.load_state_dict(load_sharded(arguments.dit, WEIGHTS_PREFIX))
    encoder = PromptEncoder.load(arguments.prompts).float()
    known = InstructionBank.build(encoder, run.known_per_family, run.trainer.seed, torch.device("cpu"))
    pictures = encode_pictures(VideoVae.load(arguments.vae), ClipStore.load(arguments.clips), run)
    corpus = TeacherCorpus.load(arguments.corpus)
    objective = PromptTuningObjective(run, editor.eval(), pictures, known, corpus)
    trainer = Trainer(run.trainer, encoder, objective, arguments.out, run, "cpu")
    result = trainer.fit()
    print(result)
    if result.is_finished:
        encoder.load_state_dict(trainer.inference_weights())
        encoder.eval().save(arguments.out / "encoder")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
