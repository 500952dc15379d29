"""Distil the bundled editor to few steps on its own memory: the last stage of `tiny_edit`.

python -m vivace.recipes.tiny_edit_student --start-from CAUSAL/weights [--teacher TEACHER/weights] \
    --clips CLIPS --vae VAE --lpips LPIPS --out RUN --minutes 12

The student is asked at the noise levels that its sampler visits, remembers what it made itself and in part
sees that with noise instead of the target (both as when serving). It is led to the programmatic target, or,
where a teacher is named, to the end points of that many-step bidirectional one from the same noise; a part of
every batch is decoded and compared as pictures.
"""

import random
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, get_args

import torch
import tyro
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from vivace.catalog.load import choose_device
from vivace.core.exit_code import exit_code_of
from vivace.core.seeds import mix_seed
from vivace.data.clips import ClipStore
from vivace.diffusion.flow import clean_from_velocity
from vivace.diffusion.sampler import SANA_STREAMING_2_STEPS, SANA_STREAMING_4_STEPS, shifted_sigmas
from vivace.evaluation.picture_scores import pictures
from vivace.models.perceptual import Lpips
from vivace.models.video_vae import VideoVae
from vivace.parallel.replicas import Replicas
from vivace.pipelines.stream import CommitMode
from vivace.recipes.clip_sampling import OwnMemory, whole_clip
from vivace.recipes.edit_pool import EditPoolConfig, EditPools, LatentPool, draw_rows, twin_rows
from vivace.recipes.instructed_editor import InstructedEditor, InstructionBank, WordsConfig, WordsObjective
from vivace.recipes.teacher_corpus import TeacherCorpus
from vivace.recipes.tiny_edit import grown, tiny_edit_spec
from vivace.training.clip_velocity import Velocity, clip_velocity
from vivace.training.edit_flow import (
    EditBatch,
    EditFlowConfig,
    FlowStep,
    edit_flow_step,
    flow_error,
    normal_like,
)
from vivace.training.objective import Loss
from vivace.training.trainer import Trainer, TrainerConfig

Latent = Float[Tensor, "b c t h w"]
ROLLOUT_BATCH = 96
# what the student remembers comes from either of its samplers, written in either way
OWN_SIGMAS = (SANA_STREAMING_4_STEPS, SANA_STREAMING_2_STEPS)
COMMITS: tuple[CommitMode, ...] = get_args(CommitMode)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentRun:
    """Everything that decides a run.

    Attributes:
        teacher_steps: Euler steps of the teacher.
        teacher_shift: Shift of its noise levels.
        teacher_share: Share of clips whose target is the teacher's end point, if there is a teacher.
        own_memory_share: Share of clips whose memory is what the student made.
        own_draft_share: Share of clips whose noisy frames are what the student made, with noise. With noise
            on the target instead, all but the first level show which of two things was meant and what lies
            behind it.
        num_decoded: Clips of a batch that are compared as pictures.
        num_regions_decoded: How many of those at most are chosen because something stands out in them.
        perceptual_weight, pixel_weight, motion_weight: Factors of LPIPS, absolute and frame-to-frame errors.
        perceptual_frames: Raw frames of a decoded clip that go through LPIPS, those under training first.
        region_weight: Factor, beyond 1, of absolute errors where a local edit or a particle is.
        perceptual_region_weight: Factor of LPIPS within that region, beside that of the whole picture. What
            removals leave behind is nearer to the truth the larger it is, up to 2 (the largest tried).
        has_still_noise: Whether what the student makes itself comes from noise that is the same in every
            latent frame, falling channels apart, as served (decision 0012); its drafts get that noise again.
            Noise on targets is always independent, or a frame could be read out of its neighbour's.
        words: How the prompt encoder learns, where it does.
    """

    pool: EditPoolConfig
    flow: EditFlowConfig
    trainer: TrainerConfig
    teacher_steps: int = 12
    teacher_shift: float = 3.0
    teacher_share: float = 0.2
    own_memory_share: float = 0.6
    own_draft_share: float = 0.5
    num_decoded: int = 10
    num_regions_decoded: int = 6
    perceptual_weight: float = 0.35
    pixel_weight: float = 0.3
    motion_weight: float = 0.6
    perceptual_frames: int = 10
    region_weight: float = 6.0
    perceptual_region_weight: float = 2.0
    has_still_noise: bool = True
    instructions_per_family: int = 3000
    words: WordsConfig = field(default_factory=lambda: WordsConfig(naming_weight=0.2))
    seed: int = 1


def student_run(minutes: float, num_train_steps: int) -> StudentRun:
    """The last run towards the bundled weights, sized for one H200."""
    return StudentRun(
        pool=EditPoolConfig(
            num_pairs=72,
            batch=24,
            steps_per_pool=28,
            switch_share=0.2,
            identity_weight=4.0,
            pair_share=0.13,
            local_share=0.36,
            local_weights=(1.5, 3.0, 1.0, 1.0),
            twin_share=0.6,
            particle_weight=6.0,
            particle_region_weight=5.0,
        ),
        flow=EditFlowConfig(
            served_sigmas=SANA_STREAMING_4_STEPS,
            served_share=1.0,
            memory_noise=0.08,
            noisy_share=0.45,
            last_step_share=0.35,
            fresh_share=0.08,
        ),
        trainer=TrainerConfig(
            num_train_steps=num_train_steps,
            learning_rate=4e-4,
            betas=(0.9, 0.98),
            weight_decay=0.01,
            warmup_steps=100,
            final_learning_rate_fraction=0.02,
            ema_decay=0.995,
            autocast="bf16",
            log_every=25,
            save_every_minutes=4.0,
            budget_minutes=minutes,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A pool with what two models made of it."""

    pool: LatentPool
    noise: Latent
    served_noise: Latent
    teacher: Latent | None
    own: Latent
    stands_out: tuple[bool, ...]


class _Seen(NamedTuple):
    """What the compared pictures of a batch show beside the frames under training."""

    shown: Latent
    region: UInt8[Tensor, "b 1 r y x"]


class StudentObjective:
    """Flow error towards the targets plus picture errors, as a pure function of weights and train step."""

    def __init__(
        self,
        run: StudentRun,
        pools: EditPools,
        bank: InstructionBank,
        teacher: InstructedEditor | None,
        lpips: Lpips,
        words: WordsObjective | None = None,
    ) -> None:
        """`teacher` is None where the programmatic targets alone are to be learned from."""
        self.run = run
        self.pools = pools
        self.bank = bank
        self.teacher = None if teacher is None else teacher.requires_grad_(False).eval()
        self.lpips = lpips
        self.words = words
        self._prepared: tuple[int, _Prepared] | None = None
        self._velocity: Velocity | None = None
        self._own_memory: OwnMemory | None = None

    def __call__(self, model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        """The loss of one micro-batch."""
        assert isinstance(model, InstructedEditor)
        run = self.run
        seed = mix_seed(run.seed, 1, train_step, micro_batch)
        rng = random.Random(seed)
        generator = torch.Generator(self.pools.clips.device).manual_seed(seed)
        index = train_step // run.pool.steps_per_pool
        if self._prepared is None or self._prepared[0] != index:
            self._prepared = index, self._prepare(model, index)
        batch, around = self._batch(model, self._prepared[1], rng)
        if self._velocity is None:
            chunks = run.flow.chunks(batch.target.shape[2])
            self._velocity = clip_velocity(model.dit, chunks, batch.target.device)
        step = edit_flow_step(self._velocity, batch, run.flow, generator)
        total, parts = flow_error(step, batch)
        seen, picture_parts = self._picture_loss(step, batch, around, generator)
        total, parts = total + seen, {**parts, **picture_parts}
        if self.words is not None:
            families = [self.pools.draw_family(rng) for _ in range(self.words.config.batch)]
            heard, word_parts = self.words(model, families, self.bank, rng)
            total, parts = total + heard, {**parts, **word_parts}
        return Loss(total=total, parts=parts, num_samples=batch.source.shape[0])

    @torch.no_grad()
    def _prepare(self, model: InstructedEditor, index: int) -> _Prepared:
        pool = self.pools.pool(index)
        if self._own_memory is None:
            self._own_memory = OwnMemory(model)
        rng = random.Random(mix_seed(self.run.seed, 2, index))
        generator = torch.Generator(pool.source.device).manual_seed(mix_seed(self.run.seed, 3, index))
        ids = [self.bank.draw(family, rng) for family in pool.families]
        noise = normal_like(pool.target, generator)
        if self.run.pool.twin_share:
            for row, twin in twin_rows(self.run.pool).items():
                noise[twin] = noise[row]
        noise[:, : pool.falling.shape[1]] = pool.falling
        served = noise.clone()
        if self.run.has_still_noise:
            num_falling = pool.falling.shape[1]
            served[:, num_falling:] = noise[:, num_falling:, :1]
        teacher: list[Tensor] = []
        own: list[Tensor] = []
        for rows in torch.arange(len(ids)).split(ROLLOUT_BATCH):
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            given = pool.source[part], ids[part]
            if self.teacher is not None:
                sigmas = shifted_sigmas(self.run.teacher_steps, self.run.teacher_shift)
                teacher.append(whole_clip(self.teacher, noise[part], *given, sigmas))
            own.append(self._own_memory(served[part], *given, rng.choice(OWN_SIGMAS), rng.choice(COMMITS)))
        taught = torch.cat(teacher) if teacher else None
        stands_out = (pool.weight.amax((1, 2, 3, 4)) > 1).tolist()
        return _Prepared(pool, noise, served, taught, torch.cat(own), tuple(stands_out))

    def _batch(
        self, model: InstructedEditor, prepared: _Prepared, rng: random.Random
    ) -> tuple[EditBatch, _Seen]:
        """Clips of the pool, and what the first of them are compared with as pictures."""
        run, pool = self.run, prepared.pool
        chosen = draw_rows(run.pool, rng)
        # those that come first are compared as pictures
        standing_out = [i for i in chosen if prepared.stands_out[i]][: run.num_regions_decoded]
        chosen = standing_out + [i for i in chosen if i not in standing_out]
        device = pool.source.device
        index = torch.tensor(chosen, device=device)

        def some(share: float) -> Bool[Tensor, "b 1 1 1 1"]:
            drawn = [rng.random() < share for _ in chosen]
            return torch.tensor(drawn, device=device)[:, None, None, None, None]

        # said in other words than when the memory was made: the family is the same
        said = [self.bank.draw(pool.families[i], rng) for i in chosen]
        text, mask = model.encode(*model.prompts.pad_ids(said))
        target = pool.target[index]
        if prepared.teacher is not None:
            # where a region stands out, the teacher's answer may lie outside it: the target is exact
            is_plain = pool.weight[index].amax((1, 2, 3, 4), keepdim=True) == 1
            target = torch.where(some(run.teacher_share) & is_plain, prepared.teacher[index], target)
        shown = torch.where(some(run.own_memory_share), prepared.own[index], pool.target[index])
        # twins share their noise, so either both are drafts or none is
        first_of = {twin: row for row, twin in twin_rows(run.pool).items()} if run.pool.twin_share else {}
        drafted: dict[int, bool] = {}
        for i in chosen:
            drafted.setdefault(first_of.get(i, i), rng.random() < run.own_draft_share)
        is_drafted = torch.tensor([drafted[first_of.get(i, i)] for i in chosen], device=device)
        is_drafted = is_drafted[:, None, None, None, None]
        is_switched = some(run.pool.switch_share)
        batch = EditBatch(
            source=pool.source[index],
            target=target,
            memory=torch.where(is_switched, pool.other[index], shown),
            noise=torch.where(is_drafted, prepared.served_noise[index], prepared.noise[index]),
            weight=pool.weight[index],
            text=text,
            text_mask=mask,
            draft=torch.where(is_drafted, prepared.own[index], target),
        )
        # a frame is judged behind the frames that would come before it when serving
        part = slice(0, run.num_decoded)
        shown = torch.where(is_switched, target, shown)[part]
        return batch, _Seen(shown, pool.region[index[part]])

    def _picture_loss(
        self, step: FlowStep, batch: EditBatch, around: _Seen, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        run = self.run
        part = slice(0, run.num_decoded)
        clean = clean_from_velocity(step.noisy[part].float(), step.velocity[part], step.sigma[part])
        is_noisy = step.is_noisy[part, None, :, None, None]
        made = self._decode(torch.where(is_noisy, clean, around.shown))
        with torch.no_grad():
            wanted = self._decode(batch.target[part])
        region = around.region.float() / 255
        frames = _looked_at(step.is_noisy[part], made.shape[2], run.perceptual_frames, generator)
        a, b, where = (pictures(_frames_of(video, frames)) for video in (made, wanted, region))
        perceptual = self.lpips.with_regions(a, b, where, run.perceptual_region_weight).mean()
        error = made - wanted
        counts = 1 + run.region_weight * region
        pixel = (error.abs() * counts).mean()
        motion = ((error[:, :, 1:] - error[:, :, :-1]).abs() * counts[:, :, 1:]).mean()
        total = run.perceptual_weight * perceptual + run.pixel_weight * pixel + run.motion_weight * motion
        return total, {"lpips": perceptual.detach(), "pixel": pixel.detach(), "motion": motion.detach()}

    def _decode(self, latent: Latent) -> Float[Tensor, "b 3 r h w"]:
        vae = self.pools.vae
        with torch.autocast(latent.device.type, enabled=False):
            video, _ = vae.decode(latent.to(next(vae.parameters()).dtype), None)
        return video.float()


def _looked_at(
    is_noisy: Bool[Tensor, "b t"], num_raw_frames: int, num_looks: int, generator: torch.Generator
) -> Int64[Tensor, "b k"]:
    """Raw frames of each clip that are compared: random ones of what is under training, then others."""
    first, rest = is_noisy[:, :1], is_noisy[:, 1:]
    under_training = torch.cat([first, rest.repeat_interleave((num_raw_frames - 1) // rest.shape[1], 1)], 1)
    order = torch.rand(under_training.shape, generator=generator, device=generator.device)
    return (order + under_training).topk(num_looks).indices


def _frames_of(video: Float[Tensor, "b c r h w"], frames: Int64[Tensor, "b k"]) -> Float[Tensor, "b c k h w"]:
    """Other raw frames of each clip."""
    clips = torch.arange(len(video), device=video.device)[:, None]
    return video.transpose(1, 2)[clips, frames].transpose(1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Distil the bundled editor to few steps."""

    clips: Path
    vae: Path
    lpips: Path
    start_from: Path
    out: Path
    teacher: Path | None = None
    minutes: float = 12.0
    num_train_steps: int = 20_000
    train_prompts: bool = False
    corpus: Path | None = None
    device: str = "cuda"


def main(arguments: Arguments) -> None:
    """Train, then export the averaged weights to `out/weights`."""
    wanted = str(choose_device(arguments.device))
    replicas = Replicas.join(wanted)
    device = replicas.device(wanted)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    vae = VideoVae.load(arguments.vae, dtype).to(device).requires_grad_(False)
    torch.manual_seed(0)
    editor = InstructedEditor.load(arguments.start_from)
    model = grown(editor, tiny_edit_spec(vae.spec.latent_channels, editor.prompts.spec.dim))
    teacher = None if arguments.teacher is None else InstructedEditor.load(arguments.teacher).to(device)
    run = student_run(arguments.minutes, arguments.num_train_steps)
    lpips = Lpips.load(arguments.lpips).to(device)
    corpus = None if arguments.corpus is None else TeacherCorpus.load(arguments.corpus)
    words = None
    if arguments.train_prompts:
        words = WordsObjective(run.words, model.prompts, device, corpus)
    else:
        model.fix_words()
    clips = ClipStore.load(arguments.clips, device)
    bank = InstructionBank.build(model.prompts, run.instructions_per_family, run.seed)
    pools = EditPools(run.pool, clips, vae, mix_seed(run.seed, replicas.rank))
    objective = StudentObjective(run, pools, bank, teacher, lpips, words)
    config = replace(run.trainer, seed=run.seed)
    trainer = Trainer(config, model, objective, arguments.out, run, device, replicas=replicas)
    print(trainer.fit())
    if replicas.is_first:
        model.export(trainer.inference_weights(), arguments.out / "weights")
    replicas.leave()


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "tiny_edit_student"))
