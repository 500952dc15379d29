"""Train the bundled editor `tiny-edit` in stages: teacher, causal, objects, student.

python -m vivace.recipes.tiny_edit teacher --clips CLIPS --vae VAE --prompts ENCODER --out RUN --minutes 20
python -m vivace.recipes.tiny_edit causal --start-from RUN/weights --clips CLIPS --vae VAE --out RUN2
python -m vivace.recipes.tiny_edit objects --start-from RUN2/weights --clips CLIPS --vae VAE --out RUN3
python -m vivace.recipes.tiny_edit_student --start-from RUN3/weights ...

The teacher sees a whole clip at once at one noise level; the causal editor sees the past only, at a noise
level of its own for every latent frame; `objects` shows it many short clips in which the words decide which
of two things is meant; the student (`tiny_edit_student`) learns to need few steps.
"""

import random
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import nn

from vivace.catalog.load import choose_device
from vivace.core.errors import InputError
from vivace.core.exit_code import exit_code_of
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.prompt_encoder import PromptEncoder
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.models.video_vae import VideoVae
from vivace.parallel.replicas import Replicas
from vivace.recipes.edit_pool import EditPoolConfig, EditPools, draw_rows
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank, WordsConfig, WordsObjective
from vivace.recipes.teacher_corpus import TeacherCorpus
from vivace.training.clip_velocity import Velocity, clip_velocity
from vivace.training.edit_flow import EditBatch, EditFlowConfig, edit_flow_loss, normal_like
from vivace.training.objective import Loss
from vivace.training.trainer import Trainer, TrainerConfig

Stage = Literal["teacher", "causal", "objects"]
NUM_LATENT_FRAMES = 13


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyEditRun:
    """Everything that decides a run.

    Attributes:
        words: How the prompt encoder learns, where it does.
        instructions_per_family: Sentences drawn once for every family.
    """

    stage: str
    spec: DitSpec
    pool: EditPoolConfig
    flow: EditFlowConfig
    trainer: TrainerConfig
    words: WordsConfig = field(default_factory=WordsConfig)
    instructions_per_family: int = 1500
    seed: int = 0


def tiny_edit_spec(latent_channels: int, text_dim: int) -> DitSpec:
    """The bundled editor: the SANA-Streaming blocks at a size for two CPU cores.

    One latent frame a chunk keeps the delay at four raw frames; six blocks keep the overhead per forward low.
    A window of one latent frame streams better than a wider one (docs/systems/sana_streaming.md, research
    rows) and costs less; places are for "on the left".
    """
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=1, max_distance_frames=8)
    return DitSpec(
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        dim=256,
        num_heads=4,
        mlp_ratio=2.5,
        text_dim=text_dim,
        mixers=hybrid_mixers(6, 2, GdnSpec(), softmax),
        place_octaves=4,
    )


def tiny_edit_run(stage: Stage, spec: DitSpec, minutes: float, num_train_steps: int) -> TinyEditRun:
    """The runs towards the bundled weights, sized for one H200."""
    trainer = TrainerConfig(
        num_train_steps=num_train_steps,
        learning_rate=8e-4,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        warmup_steps=300,
        final_learning_rate_fraction=0.02,
        grad_clip_norm=1.0,
        ema_decay=0.998,
        autocast="bf16",
        log_every=50,
        save_every_minutes=5.0,
        budget_minutes=minutes,
    )
    causal = EditFlowConfig(served_sigmas=SANA_STREAMING_4_STEPS)
    whole = EditFlowConfig(
        served_sigmas=SANA_STREAMING_4_STEPS,
        served_share=0.0,
        memory_noise=0.0,
        first_chunk_frames=NUM_LATENT_FRAMES,
    )
    flow = whole if stage == "teacher" else causal
    pool = EditPoolConfig(num_pairs=96, steps_per_pool=24)
    if stage == "objects":
        # which thing is meant is decided from pure noise in a stream's first frames: short clips show more of
        # those a second, and neither memory nor less noise may tell
        flow = replace(causal, noisy_share=0.45, last_step_share=0.35, fresh_share=0.8)
        pool = replace(
            pool,
            num_pairs=384,
            steps_per_pool=24,
            batch=96,
            num_raw_frames=5,
            local_share=0.6,
            local_weights=(1.0, 4.0, 4.0, 0.5),
            twin_share=0.7,
        )
        trainer = replace(trainer, learning_rate=4e-4, warmup_steps=100)
    return TinyEditRun(stage=stage, spec=spec, pool=pool, flow=flow, trainer=trainer)


class EditObjective:
    """Draws batches as a pure function of the train step and returns the flow loss."""

    def __init__(
        self,
        run: TinyEditRun,
        pools: EditPools,
        bank: InstructionBank,
        words: WordsObjective | None = None,
    ) -> None:
        """`words` is what the prompt encoder learns by; None where it does not learn."""
        self.run = run
        self.pools = pools
        self.bank = bank
        self.words = words
        self._velocity: Velocity | None = None

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """The loss of one micro-batch."""
        assert isinstance(model, InstructedEditor)
        seed = mix_seed(self.run.seed, 1, train_step, micro_batch)
        generator = torch.Generator(self.pools.clips.device).manual_seed(seed)
        rng = random.Random(seed)
        batch = self._batch(model, train_step, rng, generator)
        if self._velocity is None:
            chunks = self.run.flow.chunks(batch.target.shape[2])
            self._velocity = clip_velocity(model.dit, chunks, batch.target.device)
        total, parts = edit_flow_loss(self._velocity, batch, self.run.flow, generator)
        if self.words is not None:
            families = [self.pools.draw_family(rng) for _ in range(self.words.config.batch)]
            words, word_parts = self.words(model, families, self.bank, rng)
            total, parts = total + words, {**parts, **word_parts}
        return Loss(total=total, parts=parts, num_samples=batch.source.shape[0])

    def _batch(
        self, model: InstructedEditor, train_step: int, rng: random.Random, generator: torch.Generator
    ) -> EditBatch:
        config = self.run.pool
        pool = self.pools.pool(train_step // config.steps_per_pool)
        chosen = draw_rows(config, rng)
        device = pool.source.device
        index = torch.tensor(chosen, device=device)
        text, mask = model.encode(
            *model.prompts.pad_ids([self.bank.draw(pool.families[i], rng) for i in chosen])
        )
        is_switched = torch.tensor([rng.random() < config.switch_share for _ in chosen], device=device)
        target = pool.target[index]
        noise = normal_like(target, generator)
        if config.twin_share:
            # twins are neighbours
            noise = noise[::2].repeat_interleave(2, dim=0)
        noise[:, : pool.falling.shape[1]] = pool.falling[index]
        return EditBatch(
            source=pool.source[index],
            target=target,
            memory=torch.where(is_switched[:, None, None, None, None], pool.other[index], target),
            noise=noise,
            weight=pool.weight[index],
            text=text,
            text_mask=mask,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Train a stage of the bundled editor.

    Attributes:
        clips: Folder of training clips (`python -m vivace.recipes.tiny_footage`).
        vae: Folder of the video VAE.
        out: Folder of this run; run the command again to resume.
        prompts: Folder of the prompt encoder to start from; not with `start_from`.
        start_from: Folder of an earlier stage's weights.
        train_prompts: Let the prompt encoder learn too.
        corpus: Folder of the prompt encoder's teacher corpus; keeps the encoder near its teacher.
        batch: Clips a train step; None is the stage's own number.
    """

    stage: Annotated[Stage, tyro.conf.Positional]
    clips: Path
    vae: Path
    out: Path
    prompts: Path | None = None
    start_from: Path | None = None
    train_prompts: bool = False
    corpus: Path | None = None
    minutes: float = 20.0
    num_train_steps: int = 20_000
    batch: int | None = None
    device: str = "cuda"


def grown(editor: InstructedEditor, spec: DitSpec) -> InstructedEditor:
    """The same editor with another window, and with places if the spec has them; it starts as what it was.

    Raises:
        RuntimeError: If the specs differ in anything else.
    """
    dit = StreamingDit(spec)
    weights = dit.state_dict() | editor.dit.state_dict()
    dit.load_state_dict(weights)
    larger = InstructedEditor(dit, editor.prompts)
    larger.family_head = editor.family_head
    return larger


def load_editor(arguments: Arguments, latent_channels: int) -> InstructedEditor:
    """The editor to start from, in fp32; a new DiT where only the prompt encoder is given."""
    if arguments.start_from is not None:
        editor = InstructedEditor.load(arguments.start_from)
        return grown(editor, tiny_edit_spec(latent_channels, editor.prompts.spec.dim))
    if arguments.prompts is None:
        raise InputError("name --start-from (an earlier stage's weights) or --prompts (a prompt encoder)")
    encoder = PromptEncoder.load(arguments.prompts).float()
    return InstructedEditor(StreamingDit(tiny_edit_spec(latent_channels, encoder.spec.dim)), encoder)


def main(arguments: Arguments) -> None:
    """Train, then export the averaged weights to `out/weights`."""
    wanted = str(choose_device(arguments.device))
    replicas = Replicas.join(wanted)
    device = replicas.device(wanted)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = VideoVae.load(arguments.vae, dtype).to(device).requires_grad_(False)
    torch.manual_seed(0)
    model = load_editor(arguments, vae.spec.latent_channels)
    run = tiny_edit_run(arguments.stage, model.dit.spec, arguments.minutes, arguments.num_train_steps)
    if arguments.batch is not None:
        run = replace(run, pool=replace(run.pool, batch=arguments.batch))
    clips = ClipStore.load(arguments.clips, device)
    bank = InstructionBank.build(model.prompts, run.instructions_per_family, run.seed)
    corpus = None if arguments.corpus is None else TeacherCorpus.load(arguments.corpus)
    words = None
    if arguments.train_prompts:
        words = WordsObjective(run.words, model.prompts, device, corpus)
    else:
        model.fix_words()
    pools = EditPools(run.pool, clips, vae, mix_seed(run.seed, replicas.rank))
    objective = EditObjective(run, pools, bank, words)
    trainer = Trainer(run.trainer, model, objective, arguments.out, run, device, replicas=replicas)
    print(trainer.fit())
    if replicas.is_first:
        model.export(trainer.inference_weights(), arguments.out / "weights")
    replicas.leave()


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_edit"))
