"""Distances in a region, and the row of a local edit for editors that do it, nothing, or too much."""

import pytest
import torch

from vivace.core.errors import InputError
from vivace.data.local_families import LOCAL_FAMILIES
from vivace.data.training_pairs import make_training_pair, training_family_named
from vivace.evaluation.fidelity import EditSettings, prepare_clip
from vivace.evaluation.footage import as_video, reconstruct
from vivace.evaluation.local_fidelity import (
    LocalRow,
    grown,
    local_or_reverse_named,
    measure_local,
    region_distance,
)
from vivace.evaluation.opencv import has_opencv
from vivace.evaluation.picture_scores import perceptual_distance
from vivace.evaluation.report import LOCAL_UNDER_TEST

SETTINGS = EditSettings(seed=4)


def two_videos() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 3, 64, 96, generator=generator), torch.rand(1, 3, 3, 64, 96, generator=generator)


def half(*, is_left: bool) -> torch.Tensor:
    region = torch.zeros(1, 1, 3, 64, 96, dtype=torch.bool)
    region[..., :48] = True
    return region if is_left else ~region


def test_the_distance_in_a_region_that_is_the_picture_is_that_of_the_pictures(lpips) -> None:
    a, b = two_videos()
    everywhere = torch.ones(1, 1, 3, 64, 96, dtype=torch.bool)
    expected = float(perceptual_distance(lpips, a, b).mean())
    assert region_distance(lpips, a, b, everywhere) == pytest.approx(expected, rel=1e-5)


def test_only_the_region_counts(lpips) -> None:
    a, b = two_videos()
    mixed = torch.where(half(is_left=True), a, b)
    assert region_distance(lpips, mixed, b, half(is_left=False)) == 0
    inside = region_distance(lpips, mixed, b, half(is_left=True))
    assert inside > 0
    assert region_distance(lpips, a, b, half(is_left=True)) == inside


def test_raw_frames_without_a_region_do_not_count_and_an_empty_one_is_refused(lpips) -> None:
    a, b = two_videos()
    region = half(is_left=True)
    region[:, :, 1:] = False
    alone = region_distance(lpips, a[:, :, :1], b[:, :, :1], region[:, :, :1])
    assert region_distance(lpips, a, b, region) == pytest.approx(alone, rel=1e-5)
    with pytest.raises(InputError, match="without a pixel"):
        region_distance(lpips, a, b, torch.zeros_like(region))


def test_a_region_grows_by_a_margin_that_follows_the_size() -> None:
    for side, margin in ((192, 4), (96, 2), (24, 1)):
        region = torch.zeros(1, 1, 2, side, side, dtype=torch.bool)
        region[:, :, 1, side // 2, side // 2] = True
        wide = grown(region)
        assert not wide[:, :, 0].any()
        assert int(wide[:, :, 1].sum()) == (2 * margin + 1) ** 2


def row_of(name, how, toy_editor, lpips, clip, monkeypatch) -> LocalRow:
    prepared = prepare_clip(toy_editor, "moving", clip.cut(5, 96, 160), use_flow=False)
    family = local_or_reverse_named(name)
    pair = make_training_pair(prepared.source, family, SETTINGS.seed)

    def does(editor, frames, instruction, settings):
        decoded, target = (reconstruct(editor.pipeline.vae, x) for x in (as_video(frames), pair.target))
        video = {"everything": 1 - target, "perfect": target, "nothing": decoded}[how]
        if how == "perfect" and pair.mask is not None:
            video = torch.where(grown(pair.mask), target, decoded)
        return (video[0].permute(1, 2, 3, 0) * 255).round().clamp(0, 255).byte()

    monkeypatch.setattr("vivace.evaluation.local_fidelity.edited", does)
    row, picture = measure_local(toy_editor, lpips, prepared, family, "words", SETTINGS)
    assert picture.shape == (3 * 96, 160, 3)
    return row


@pytest.mark.parametrize(
    "name", ["add_blue_ball_left", "remove_ball", "recolor_heart_red", "gray_background"]
)
def test_perfect_idle_and_wild_editors_are_told_apart(name, toy_editor, lpips, clip, monkeypatch) -> None:
    perfect, idle, wild = (
        row_of(name, how, toy_editor, lpips, clip, monkeypatch)
        for how in ("perfect", "nothing", "everything")
    )
    assert perfect.ratio is not None
    assert perfect.ratio < 0.1
    assert idle.ratio == pytest.approx(1, abs=0.1)
    assert wild.ratio is not None
    assert wild.ratio > 0.2
    for row in (perfect, idle):
        assert row.outside_edit == pytest.approx(0, abs=2e-3)
    assert wild.outside_excess is not None
    assert perfect.outside_excess is not None
    assert wild.outside_excess > perfect.outside_excess
    assert 0 < perfect.share < 1
    is_told = name.startswith("remove") and has_opencv()
    assert (perfect.inpainted_ratio is not None) == is_told
    if perfect.inpainted_ratio is not None:
        assert 0 < perfect.inpainted_ratio < 1


def test_a_reverse_edit_is_measured_on_the_whole_picture(toy_editor, lpips, clip, monkeypatch) -> None:
    perfect = row_of("undo_sepia", "perfect", toy_editor, lpips, clip, monkeypatch)
    idle = row_of("undo_sepia", "nothing", toy_editor, lpips, clip, monkeypatch)
    assert perfect.ratio is not None
    assert perfect.ratio < 0.1
    assert idle.ratio == pytest.approx(1, abs=0.1)
    assert (perfect.share, perfect.outside_edit, perfect.outside_excess) == (1, None, None)


def test_every_kind_is_under_test_and_global_families_are_refused() -> None:
    kinds = {each.kind for each in LOCAL_FAMILIES if each.name in LOCAL_UNDER_TEST}
    assert kinds == {"add", "remove", "recolor", "background"}
    assert all(training_family_named(name).name == name for name in LOCAL_UNDER_TEST)
    with pytest.raises(InputError, match="edits the whole picture"):
        local_or_reverse_named("snow")
