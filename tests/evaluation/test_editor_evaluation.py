"""Every part on a random model: the numbers mean nothing, their presence and relations do."""

import dataclasses

import pytest
import torch

from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError, InputError
from vivace.data.edit_pairs import IDENTITY, NIGHT, SNOW
from vivace.evaluation.drift import measure_drift
from vivace.evaluation.editor_evaluation import evaluate_editor, instruction_of, phrasings_under_test
from vivace.evaluation.fidelity import EditSettings, edited, measure_fidelity, prepare_clip
from vivace.evaluation.instruction_accuracy import InstructionRow, Phrasing, measure_instructions
from vivace.evaluation.report import EvaluationConfig, EvaluationReport
from vivace.evaluation.report_page import markdown_page

CONFIG = EvaluationConfig(
    parts=("reconstruction", "fidelity", "local", "still", "drift"),
    families=("night", "snow", "identity", "rain+night"),
    local_families=("add_red_balloon_right", "gray_background", "undo_sepia"),
    width_px=64,
    height_px=48,
    num_frames=9,
    still_families=("night",),
    still_frames=9,
    small_width_px=48,
    small_height_px=32,
    drift_families=("night",),
    drift_frames=130,
    drift_round_frames=10,
)


@pytest.fixture(scope="module")
def report(toy_editor, lpips, clip) -> EvaluationReport:
    return evaluate_editor(toy_editor, [clip], lpips, CONFIG, model="toy")


def test_every_part_asked_for_has_rows_and_others_have_none(report) -> None:
    assert [row.clip for row in report.reconstruction] == ["moving"]
    assert [row.family for row in report.fidelity] == list(CONFIG.families)
    assert [row.family for row in report.local] == list(CONFIG.local_families)
    assert [row.family for row in report.still] == [None, "night"]
    assert len(report.drift) == 1
    assert report.instructions == ()
    assert (report.model, report.precision, report.num_denoising_steps) == ("toy", "float32", 4)


def test_families_that_draw_things_have_a_row_for_each_scene(toy_editor, lpips, clip) -> None:
    names = ("add_red_ball_middle", "remove_object", "undo_night")
    config = dataclasses.replace(CONFIG, parts=("local",), local_families=names, scenes=3)
    report = evaluate_editor(toy_editor, [clip], lpips, config, model="toy")
    scenes = {family: [row.seed for row in rows] for family, rows in report.local_of_families().items()}
    assert scenes == {names[0]: [0], names[1]: [0, 1, 2], names[2]: [0]}
    removed = report.local_of_families()["remove_object"]
    assert len({row.share for row in removed}) == 3
    assert len({row.instruction for row in removed}) > 1
    line = next(line for line in markdown_page(report).splitlines() if line.startswith("| remove_object"))
    assert [cell.strip() for cell in line.split("|")][2:4] == ["1", "3"]
    with pytest.raises(ConfigError, match="scenes"):
        dataclasses.replace(CONFIG, scenes=0)


def test_the_report_survives_json(report) -> None:
    assert from_json(EvaluationReport, to_json(report)) == report


def test_particles_are_counted_only_where_a_family_has_them_and_doing_nothing_has_no_ratio(report) -> None:
    rows = {row.family: row for row in report.fidelity}
    assert rows["night"].particles_target is None
    assert rows["snow"].particles_target is not None
    assert rows["night"].fall_target is None
    assert rows["snow"].floor_ratio is not None
    assert rows["night"].floor_ratio is None
    assert rows["identity"].ratio is None
    assert rows["night"].ratio == pytest.approx(rows["night"].lpips_edit / rows["night"].lpips_source)


def test_the_page_has_a_table_for_every_part_with_rows(report) -> None:
    page = markdown_page(report)
    for heading in (
        "Video VAE",
        "Edit families",
        "Local and reverse edits",
        "A scene that does not move",
        "Drift",
    ):
        assert f"## {heading}" in page
    assert "## Instructions" not in page
    assert "| night | 1 |" in page
    assert "| undo_sepia | 1 | 1 | 100 % |" in page
    assert "4 steps, float32." in page
    assert "5 raw frames of 48x32, drift at 48x32, everything else at 64x48" in page


def test_an_editor_that_hits_the_target_has_ratio_zero(toy_editor, lpips, clip, monkeypatch) -> None:
    prepared = prepare_clip(toy_editor, "moving", clip.cut(5, 48, 64), use_flow=False)

    def perfect(editor, frames, instruction, settings):
        target = NIGHT.edit.base(prepared.source)
        from vivace.evaluation.footage import reconstruct

        video = reconstruct(editor.pipeline.vae, target)
        return (video[0].permute(1, 2, 3, 0) * 255).round().byte()

    monkeypatch.setattr("vivace.evaluation.fidelity.edited", perfect)
    row, _ = measure_fidelity(toy_editor, lpips, prepared, NIGHT, "night", EditSettings())
    assert row.ratio is not None
    assert row.ratio < 0.05


def test_an_editor_that_does_nothing_is_taken_for_identity(toy_editor, lpips, clip, monkeypatch) -> None:
    from vivace.evaluation.footage import as_video, reconstruct

    def idle(editor, frames, instruction, settings):
        video = reconstruct(editor.pipeline.vae, as_video(frames))
        return (video[0].permute(1, 2, 3, 0) * 255).round().byte()

    monkeypatch.setattr("vivace.evaluation.instruction_accuracy.edited", idle)
    asked = [Phrasing(NIGHT, "train", "at night"), Phrasing(IDENTITY, "held_out", "leave it")]
    rows = measure_instructions(toy_editor, lpips, "moving", clip.cut(5, 48, 64), asked, EditSettings())
    assert [row.nearest for row in rows] == ["identity", "identity"]
    assert [row.is_understood for row in rows] == [False, True]
    assert rows[0].ratio == pytest.approx(1, abs=0.05)
    assert rows[1].ratio is None


def test_phrasings_under_test_hold_all_held_out_ones_and_a_sample_of_the_others() -> None:
    tried = phrasings_under_test(2, 0)
    assert tried == phrasings_under_test(2, 0)
    snow = [each for each in tried if each.family == SNOW]
    assert sum(each.split == "train" for each in snow) == 2
    assert sum(each.split == "held_out" for each in tried) > 400
    assert instruction_of(SNOW, "train", 1) == instruction_of(SNOW, "train", 1)


def test_the_averages_of_instructions_count_splits_apart() -> None:
    def row(split, family, nearest, ratio):
        return InstructionRow(clip="a", split=split, family=family, words="w", nearest=nearest, ratio=ratio)

    rows = (
        row("train", "snow", "snow", 0.2),
        row("held_out", "snow", "rain", 1.2),
        row("held_out", "snow", "rain", 0.8),
        row("held_out", "night", "night", 0.4),
    )
    report = EvaluationReport(
        model="m",
        precision="p",
        num_denoising_steps=4,
        config=EvaluationConfig(),
        seconds=1.0,
        instructions=rows,
    )
    assert report.accuracy("train") == 1
    assert report.accuracy("held_out") == pytest.approx(1 / 3)
    assert report.instruction_ratio("held_out", "snow") == pytest.approx(1.0)
    assert report.taken_for("held_out", "snow") == [("rain", 2)]
    assert "| snow | 1 | 100 % | 0.20 | 2 | 0 % | 1.00 | rain 2 |" in markdown_page(report)


def test_drift_compares_the_same_source_frames_at_two_ages(toy_editor, lpips, clip, monkeypatch) -> None:
    class Fading:
        """An editor that passes frames on, darker by one level every 20 frames, with nothing held back."""

        def __init__(self) -> None:
            self.age = 0

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def push(self, frames):
            ages = torch.arange(self.age, self.age + frames.shape[0])
            self.age += frames.shape[0]
            return (frames.int() - (ages // 20).view(-1, 1, 1, 1).int()).clamp(0, 255).byte()

        def finish(self):
            return torch.empty(0, 48, 64, 3, dtype=torch.uint8)

    monkeypatch.setattr(type(toy_editor), "open", lambda *_, **__: Fading())
    frames = clip.frames[:6].clamp(20, 255)
    row = measure_drift(
        toy_editor, lpips, "a", frames, IDENTITY, "x", EditSettings(), num_frames=205, early_frame=15
    )
    assert (row.early_frame, row.late_frame, row.num_frames) == (20, 190, 10)
    assert (row.early.luma - row.late.luma) * 255 == pytest.approx(8, abs=0.2)
    assert row.early.contrast == pytest.approx(row.late.contrast, abs=1e-3)
    with pytest.raises(InputError, match="at least 40"):
        measure_drift(
            toy_editor, lpips, "a", frames, IDENTITY, "x", EditSettings(), num_frames=29, early_frame=15
        )


def test_edited_frames_are_as_many_and_as_large_as_the_source(toy_editor, clip) -> None:
    frames = clip.cut(9, 32, 48)
    assert edited(toy_editor, frames, "night", EditSettings(num_denoising_steps=2)).shape == frames.shape


def test_bad_configs_and_no_clips_are_refused(toy_editor, lpips) -> None:
    with pytest.raises(InputError, match="got no clips"):
        evaluate_editor(toy_editor, [], lpips, CONFIG, model="toy")
    with pytest.raises(InputError, match="'nigth'"):
        dataclasses.replace(CONFIG, families=("nigth",))
    with pytest.raises(InputError, match="edits the whole picture"):
        dataclasses.replace(CONFIG, local_families=("night",))
    with pytest.raises(ConfigError, match="at least 1"):
        dataclasses.replace(CONFIG, num_frames=0)
