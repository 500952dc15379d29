"""Runs the parts of an evaluation over clips and gathers the report; what each part measures is elsewhere."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from vivace.catalog.editor import Editor
from vivace.core.errors import InputError
from vivace.data.edit_pairs import FAMILIES, family_named
from vivace.data.instructions import phrasings
from vivace.data.instructions_grammar import Split
from vivace.data.local_families import LocalFamily
from vivace.data.training_pairs import TrainingFamily
from vivace.evaluation.drift import DriftRow, measure_drift
from vivace.evaluation.fidelity import (
    FidelityRow,
    PreparedClip,
    StillRow,
    measure_fidelity,
    measure_still,
    prepare_clip,
)
from vivace.evaluation.footage import EvaluationClip
from vivace.evaluation.instruction_accuracy import InstructionRow, Phrasing, measure_instructions
from vivace.evaluation.local_fidelity import LocalRow, local_or_reverse_named, measure_local
from vivace.evaluation.opencv import has_opencv
from vivace.evaluation.picture_scores import video_scores
from vivace.evaluation.report import EvaluationConfig, EvaluationReport, ReconstructionRow
from vivace.models.perceptual import Lpips
from vivace.pipelines.edit import EditPipeline

# clip, family, source | edit | target of one raw frame, stacked
Show = Callable[[str, str, UInt8[np.ndarray, "h w c"]], None]
Say = Callable[[str], None]
# keeps the sentences of one clip's scenes apart from those of other clips
SEEDS_A_SCENE = 1000


def evaluate_editor(
    editor: Editor,
    clips: Sequence[EvaluationClip],
    lpips: Lpips,
    config: EvaluationConfig,
    *,
    model: str,
    show: Show | None = None,
    say: Say | None = None,
) -> EvaluationReport:
    """Measure an editor on clips that it was not trained on.

    Args:
        editor: The model; its device and precision are used for the VAE, too.
        clips: Held-out footage; all of it is measured for reconstruction and fidelity, the first clip for
            flicker and drift, the first `instruction_clips` for instructions.
        lpips: The perceptual distance, on the CPU.
        config: What is measured.
        model: The name that the report carries.
        show: Called with a picture of every fidelity row.
        say: Called with a line whenever something is done.

    Raises:
        InputError: If there are no clips, or one is too short.
    """
    if not clips:
        raise InputError("got no clips to evaluate on, expected at least one")
    return _Evaluation(editor, clips, lpips, config, show or _ignore, say or _ignore).run(model)


def instruction_of(family: TrainingFamily, split: Split, seed: int) -> str:
    """One sentence for a family; the same for the same seed."""
    return random.Random(seed).choice(phrasings(family, split))


def phrasings_under_test(num_train: int, seed: int) -> list[Phrasing]:
    """All held-out phrasings of every family, and at most `num_train` of its training phrasings."""
    chosen: list[Phrasing] = []
    for family in FAMILIES:
        known = phrasings(family, "train")
        drawn = random.Random(seed).sample(known, min(num_train, len(known)))
        chosen += [Phrasing(family, "train", words) for words in drawn]
        chosen += [Phrasing(family, "held_out", words) for words in phrasings(family, "held_out")]
    return chosen


class _Evaluation:
    def __init__(
        self,
        editor: Editor,
        clips: Sequence[EvaluationClip],
        lpips: Lpips,
        config: EvaluationConfig,
        show: Show,
        say: Say,
    ) -> None:
        self.editor = editor
        self.clips = clips
        self.lpips = lpips
        self.config = config
        self.show = show
        self.say = say

    def run(self, model: str) -> EvaluationReport:
        started = time.monotonic()
        reconstruction: list[ReconstructionRow] = []
        fidelity: list[FidelityRow] = []
        local: list[LocalRow] = []
        still: list[StillRow] = []
        parts = self.config.parts
        is_flow_wanted = "fidelity" in parts and has_opencv()
        if {"reconstruction", "fidelity", "local", "still"} & set(parts):
            for index, clip in enumerate(self.clips):
                config = self.config
                frames = clip.cut(config.num_frames, config.height_px, config.width_px)
                prepared = prepare_clip(
                    self.editor, clip.name, frames, use_flow=is_flow_wanted and frames.shape[0] > 1
                )
                if "reconstruction" in parts:
                    reconstruction.append(self._reconstruction(prepared))
                if "fidelity" in parts:
                    fidelity += self._fidelity(prepared, index)
                if "local" in parts:
                    local += self._local(prepared, index)
                if "still" in parts and index == 0:
                    still += self._still(prepared)
        instructions = self._instructions() if "instructions" in parts else []
        drift = self._drift() if "drift" in parts else []
        steps = self.config.editing.num_denoising_steps
        return EvaluationReport(
            model=model,
            precision=_precision(self.editor.pipeline),
            num_denoising_steps=self.editor.defaults.num_denoising_steps if steps is None else steps,
            config=self.config,
            seconds=time.monotonic() - started,
            reconstruction=tuple(reconstruction),
            fidelity=tuple(fidelity),
            local=tuple(local),
            still=tuple(still),
            instructions=tuple(instructions),
            drift=tuple(drift),
        )

    def _reconstruction(self, clip: PreparedClip) -> ReconstructionRow:
        scores = video_scores(clip.source, clip.decoded, self.lpips)
        self.say(f"{clip.name}: VAE {scores.psnr_db:.2f} dB, LPIPS {scores.lpips:.3f}")
        return ReconstructionRow(clip=clip.name, num_frames=clip.source.shape[2], scores=scores)

    def _fidelity(self, clip: PreparedClip, index: int) -> list[FidelityRow]:
        rows: list[FidelityRow] = []
        editing = self.config.editing
        for name in self.config.families:
            family = family_named(name)
            words = instruction_of(family, "train", index)
            row, frames = measure_fidelity(self.editor, self.lpips, clip, family, words, editing)
            last = frames.shape[0] - 1
            target = family.edit(clip.source, editing.seed)[0, :, last].permute(1, 2, 0).numpy()
            pictures = [
                clip.frames[last].numpy(),
                frames[last].numpy(),
                (target * 255).round().astype(np.uint8),
            ]
            self.show(clip.name, name, np.concatenate(pictures))
            self.say(f"{clip.name}: {name}: {row.lpips_edit:.3f} / {row.lpips_source:.3f} ({words})")
            rows.append(row)
        return rows

    def _local(self, clip: PreparedClip, index: int) -> list[LocalRow]:
        rows: list[LocalRow] = []
        for name in self.config.local_families:
            family = local_or_reverse_named(name)
            is_drawn = isinstance(family, LocalFamily) and family.kind != "add"
            for scene in range(self.config.scenes if is_drawn else 1):
                words = instruction_of(family, "train", index + SEEDS_A_SCENE * scene)
                editing = replace(self.config.editing, seed=self.config.editing.seed + scene)
                row, picture = measure_local(self.editor, self.lpips, clip, family, words, editing)
                if scene == 0:
                    self.show(clip.name, name, picture)
                self.say(f"{clip.name}: {name}: {row.inside_edit:.3f} / {row.inside_source:.3f} ({words})")
                rows.append(row)
        return rows

    def _still(self, clip: PreparedClip) -> list[StillRow]:
        families = [None, *(family_named(name) for name in self.config.still_families)]
        rows: list[StillRow] = []
        for family in families:
            words = "" if family is None else instruction_of(family, "train", 0)
            num_frames = self.config.still_frames
            rows.append(measure_still(self.editor, clip, family, words, self.config.editing, num_frames))
            self.say(f"still, {rows[-1].family}: flicker {rows[-1].flicker_mean:.3f}")
        return rows

    def _instructions(self) -> list[InstructionRow]:
        config = self.config
        tried = phrasings_under_test(config.train_phrasings, config.editing.seed)
        rows: list[InstructionRow] = []
        for clip in self.clips[: config.instruction_clips]:
            frames = clip.cut(config.instruction_frames, config.small_height_px, config.small_width_px)
            rows += measure_instructions(
                self.editor, self.lpips, clip.name, frames, tried, config.editing, self._say_if_misread
            )
            self.say(f"{clip.name}: {len(tried)} phrasings")
        return rows

    def _say_if_misread(self, row: InstructionRow) -> None:
        if not row.is_understood:
            self.say(f"{row.family}, {row.split}: {row.words!r} was taken for {row.nearest}")

    def _drift(self) -> list[DriftRow]:
        config = self.config
        clip = self.clips[0]
        longest = config.drift_round_frames // 2 + 1
        frames = clip.cut(longest + 3, config.small_height_px, config.small_width_px)[:longest]
        rows: list[DriftRow] = []
        for name in config.drift_families:
            family = family_named(name)
            row = measure_drift(
                self.editor,
                self.lpips,
                clip.name,
                frames,
                family,
                instruction_of(family, "train", 0),
                config.editing,
                num_frames=config.drift_frames,
            )
            rows.append(row)
            self.say(f"drift, {name}: LPIPS {row.early.lpips_edit:.3f}, later {row.late.lpips_edit:.3f}")
        return rows


def _precision(pipeline: EditPipeline) -> str:
    is_quantised = pipeline.precision == "fp8"
    return pipeline.precision if is_quantised else str(pipeline.dtype).removeprefix("torch.")


def _ignore(*_: object) -> None:
    return None
