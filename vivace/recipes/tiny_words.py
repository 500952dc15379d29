"""Tune the prompt encoder of `tiny_edit` through the ears of its frozen DiT: the last stage, on a CPU.

python -m vivace.recipes.tiny_words --start-from STUDENT/weights --clips CLIPS --vae VAE --corpus CORPUS \
    --out RUN --minutes 15

The editor follows the wordings that it was trained with; others land between families. Here every wording
of a family is led to what the cross-attention of every block takes from a plain one, asked by tokens of
real edits. No picture is made, so a train step hears more sentences than a student's in a tenth of the time.
"""

import copy
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Float
from torch import Tensor, nn

from vivace.catalog.load import choose_device
from vivace.core.exit_code import exit_code_of
from vivace.core.falling_noise import WEATHER
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.data.instructions import sample_instruction
from vivace.data.training_pairs import ALL, TrainingFamily, make_training_pair
from vivace.diffusion.flow import add_noise
from vivace.diffusion.noise import stream_noise
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS
from vivace.layers.attention import additive_mask
from vivace.models.streaming_dit import DitBlock, TextContext
from vivace.models.video_vae import VideoVae
from vivace.recipes.edit_pool import EditPoolConfig, EditPools
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank, sentence_loss
from vivace.recipes.teacher_corpus import TeacherCorpus
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig

# what a family's cross-attention is asked by, and what it answers, for every block
Tokens = Float[Tensor, "blocks asked dim"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WordsRun:
    """Everything that decides a run.

    Attributes:
        batch: Sentences a train step.
        num_asked: Tokens of an edit that ask, in every block.
        num_plain: Plain wordings whose mean answer is what the others are led to.
        answer_weight: Factor of the difference of answers, in shares of the variance between families.
        naming_weight: Factor of the loss that names the family of a sentence.
        anchor_weight: Factor of the loss that keeps token features near those that the run started with.
        sentence_batch: Sentences of the encoder's own teacher a train step.
        sentence_weight: Factor of their loss.
        num_raw_frames, height_px, width_px: Of the clips whose tokens ask.
    """

    pool: EditPoolConfig
    trainer: TrainerConfig
    batch: int = 48
    num_asked: int = 12
    num_plain: int = 8
    answer_weight: float = 1.0
    naming_weight: float = 0.2
    anchor_weight: float = 0.02
    sentence_batch: int = 16
    sentence_weight: float = 0.2
    num_raw_frames: int = 9
    height_px: int = 96
    width_px: int = 160
    instructions_per_family: int = 4000
    seed: int = 2


def words_run(minutes: float, num_train_steps: int) -> WordsRun:
    """The run that made the bundled prompt encoder, sized for two CPU cores."""
    return WordsRun(
        # what can be added and where is said in few words; the looks have most of the unusual ones
        pool=EditPoolConfig(
            pair_share=0.06, local_share=0.14, reverse_share=0.04, identity_weight=1.5, particle_weight=1.0
        ),
        trainer=TrainerConfig(
            num_train_steps=num_train_steps,
            learning_rate=7e-5,
            betas=(0.9, 0.98),
            weight_decay=0.02,
            warmup_steps=100,
            final_learning_rate_fraction=0.02,
            ema_decay=0.998,
            log_every=25,
            save_every_minutes=5.0,
            budget_minutes=minutes,
        ),
    )


@dataclass(frozen=True, slots=True)
class Hearing:
    """What one family's edit asks the words, and what plain wordings answer."""

    asked: Tokens
    answer: Tokens


class Listener:
    """The cross-attention of a frozen editor, and a `Hearing` of every family."""

    def __init__(self, editor: InstructedEditor, run: WordsRun) -> None:
        self.editor = editor
        self.run = run

    def answers(self, asked: Float[Tensor, "b blocks asked dim"], text: TextContext) -> Tensor:
        """What every block's cross-attention adds to tokens that ask, `b blocks asked dim`."""
        blocks = [block for block in self.editor.dit.blocks if isinstance(block, DitBlock)]
        mask = additive_mask(text.mask, asked.dtype)
        made = [
            block.cross(asked[:, index, None], text.keys[index], text.values[index], mask)
            for index, block in enumerate(blocks)
        ]
        return torch.cat(made, dim=1)

    @torch.no_grad()
    def hearing(self, family: TrainingFamily, clips: ClipStore, vae: VideoVae) -> Hearing:
        """Edit a clip as the family asks, at a noise level that is served, and keep some tokens of it."""
        run, editor = self.run, self.editor
        seed = mix_seed(run.seed, 5, ALL.index(family))
        rng = random.Random(seed)
        plain = [sample_instruction(family, rng, "train") for _ in range(run.num_plain)]
        text = self.embed(editor, [editor.prompts.tokenize(each) for each in plain])
        pair = make_training_pair(
            clips.sample(seed, 1, run.num_raw_frames, run.height_px, run.width_px), family, seed
        )
        source, target = (vae.encode(half * 2 - 1, None)[0].float() for half in (pair.source, pair.target))
        frames, grid = target.shape[2], (target.shape[3], target.shape[4])
        noise = stream_noise(seed, 0, frames, target.shape[1], grid, WEATHER).to(target)
        sigma = torch.full((1, frames), rng.choice(SANA_STREAMING_4_STEPS), device=target.device)
        latent = torch.cat([add_noise(target, noise, sigma), source], dim=1)
        seen = self._seen(latent, sigma, first_of(text))
        rows = torch.tensor(rng.sample(range(seen.shape[1]), min(run.num_asked, seen.shape[1])))
        asked = seen[:, rows.to(seen.device)]
        answer = self.answers(asked.expand(run.num_plain, -1, -1, -1), text).mean(0)
        return Hearing(asked, answer)

    @torch.no_grad()
    def spread(self, asked: Tokens) -> Float[Tensor, "blocks"]:
        """How far the answers of different families lie apart, in every block, as a variance.

        A block that takes little from the words then counts as much as one that takes a lot.
        """
        rng = random.Random(mix_seed(self.run.seed, 6))
        plain = [sample_instruction(family, rng, "train") for family in ALL]
        text = self.embed(self.editor, [self.editor.prompts.tokenize(each) for each in plain])
        return self.answers(asked.expand(len(plain), -1, -1, -1), text).var(0).mean((1, 2))

    @staticmethod
    def embed(editor: InstructedEditor, ids: Sequence[list[int]]) -> TextContext:
        """Sentences as every block's keys and values, with gradients for the prompt encoder."""
        return editor.dit.embed_text(*editor.encode(*editor.prompts.pad_ids(ids)))

    def _seen(self, latent: Tensor, sigma: Tensor, text: TextContext) -> Tokens:
        """The tokens that reach every block's cross-attention."""
        kept: list[Tensor] = []
        hooks = [
            block.cross.register_forward_pre_hook(lambda _, given: kept.append(given[0].flatten(0, 2)))
            for block in self.editor.dit.blocks
            if isinstance(block, DitBlock)
        ]
        try:
            self.editor.dit(latent, sigma, text, write=False, chunks=(1,) * latent.shape[2])
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(kept)


def first_of(text: TextContext) -> TextContext:
    """The first of several sentences."""
    keys, values = (tuple(each[:1] for each in part) for part in (text.keys, text.values))
    return TextContext(keys, values, text.mask[:1])


class ListeningObjective:
    """Answers of any wording against those of plain ones, as a pure function of weights and train step."""

    def __init__(
        self,
        run: WordsRun,
        pools: EditPools,
        bank: InstructionBank,
        listener: Listener,
        hearings: dict[str, Hearing],
        corpus: TeacherCorpus,
    ) -> None:
        """`pools` says how often a family is drawn; `corpus` is what the encoder was distilled from."""
        self.run = run
        self.pools = pools
        self.bank = bank
        self.listener = listener
        self.hearings = hearings
        self.corpus = corpus
        self.anchor = copy.deepcopy(listener.editor.prompts).requires_grad_(False)
        self._spread = listener.spread(next(iter(hearings.values())).asked)

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """The loss of one micro-batch."""
        assert isinstance(model, InstructedEditor)
        run = self.run
        rng = random.Random(step_seed(run.seed, train_step, micro_batch))
        families = [self.pools.draw_family(rng) for _ in range(run.batch)]
        ids, mask = model.prompts.pad_ids([self.bank.draw(family, rng) for family in families])
        tokens = model.prompts(ids, mask)
        hearings = [self.hearings[family.name] for family in families]
        asked, wanted = (torch.stack(part) for part in zip(*((h.asked, h.answer) for h in hearings)))
        made = self.listener.answers(asked, model.dit.embed_text(tokens, mask))
        with torch.no_grad():
            before = self.anchor(ids, mask)
        parts = {
            "missed": ((made - wanted).square().mean((2, 3)) / self._spread).mean(),
            "naming": model.naming_loss(tokens, mask, families),
            "moved": (tokens - before).square().mean(),
            "sentence": sentence_loss(model.prompts, self.corpus, run.sentence_batch, rng),
        }
        weights = run.answer_weight, run.naming_weight, run.anchor_weight, run.sentence_weight
        total = torch.stack([weight * part for weight, part in zip(weights, parts.values())]).sum()
        detached = {name: part.detach() for name, part in parts.items()}
        return Loss(total=total, parts=detached, num_samples=len(families))


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Tune the prompt encoder of the bundled editor.

    Attributes:
        start_from: Folder of the student's weights.
        clips: Folder of training clips (`python -m vivace.recipes.tiny_footage`).
        vae: Folder of the video VAE.
        corpus: Folder of the prompt encoder's teacher corpus; keeps the encoder near its teacher.
        out: Folder of this run; run the command again to resume.
    """

    start_from: Path
    clips: Path
    vae: Path
    corpus: Path
    out: Path
    minutes: float = 15.0
    num_train_steps: int = 100_000
    device: str = "cpu"


def main(arguments: Arguments) -> None:
    """Train, then export the averaged weights to `out/weights`; the DiT's are those it started from."""
    device = choose_device(arguments.device)
    torch.manual_seed(0)
    editor = InstructedEditor.load(arguments.start_from).to(device)
    editor.dit.requires_grad_(False)
    run = words_run(arguments.minutes, arguments.num_train_steps)
    vae = VideoVae.load(arguments.vae, torch.float32).to(device).requires_grad_(False)
    clips = ClipStore.load(arguments.clips, device)
    bank = InstructionBank.build(editor.prompts, run.instructions_per_family, run.seed)
    listener = Listener(editor, run)
    hearings = {family.name: listener.hearing(family, clips, vae) for family in ALL}
    pools = EditPools(run.pool, clips, vae, run.seed)
    corpus = TeacherCorpus.load(arguments.corpus)
    objective = ListeningObjective(run, pools, bank, listener, hearings, corpus)
    trainer = Trainer(run.trainer, editor, objective, arguments.out, run, device)
    print(trainer.fit())
    weights = editor.state_dict() | trainer.inference_weights()
    editor.export(weights, arguments.out / "weights")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_words"))
