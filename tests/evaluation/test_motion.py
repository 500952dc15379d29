import pytest
import torch

from vivace.core.errors import InputError
from vivace.data.edit_pairs import RAIN, SNOW
from vivace.evaluation.motion import (
    fall_speed,
    optical_flow,
    particle_share,
    scene_without_particles,
    still_flicker,
    warp,
    warp_error,
    without_particles,
)
from vivace.evaluation.opencv import has_opencv


def moving_right(num_frames: int = 4) -> torch.Tensor:
    """Random pixels that move to the right by one each frame."""
    wide = torch.rand(1, 3, 1, 16, 40, generator=torch.Generator().manual_seed(0))
    return torch.cat([wide[..., 8 - i : 32 - i] for i in range(num_frames)], dim=2)


def test_the_warp_error_of_a_video_along_its_own_motion_is_zero_and_of_a_still_flow_is_not() -> None:
    video = moving_right()
    flow = torch.zeros(3, 2, 16, 24)
    _, is_visible = warp(video[0].transpose(0, 1)[:-1], flow)
    assert warp_error(video, flow, is_visible) > 20
    flow[:, 0] = -1
    _, is_visible = warp(video[0].transpose(0, 1)[:-1], flow)
    assert not is_visible[:, :, 0].any()
    assert is_visible[:, :, 1:].all()
    assert warp_error(video, flow, is_visible) < 1e-3


def test_optical_flow_points_back_to_where_things_were(clip) -> None:
    if not has_opencv():
        with pytest.raises(InputError, match="needs OpenCV"):
            optical_flow(clip.frames)
        return
    flow, is_visible = optical_flow(clip.frames)
    inner = flow[:, :, 8:-8, 8:-8].median(dim=0).values
    assert inner[0].median() == pytest.approx(-2, abs=0.3)
    assert inner[1].median() == pytest.approx(0, abs=0.3)
    assert is_visible.float().mean() > 0.8


def test_flicker_is_the_change_between_frames() -> None:
    video = torch.zeros(1, 3, 3, 4, 4)
    video[:, :, 1, 0, 0] = 1.0
    mean, largest = still_flicker(video)
    assert mean == pytest.approx(255 / 16)
    assert largest == pytest.approx(255)


@pytest.mark.parametrize("family", [SNOW, RAIN], ids=lambda family: family.name)
def test_particles_are_counted_and_taken_out_of_a_still_scene(family) -> None:
    video = torch.full((1, 3, 13, 96, 128), 0.3)
    base, full = family.edit.base(video), family.edit(video, 5)
    assert particle_share(base) == 0
    assert particle_share(full) > 0.01
    scene = scene_without_particles(full)
    assert scene.shape == (1, 3, 9, 48, 64)
    remaining = (without_particles(full) - base[:, :, 2:-2]).abs().mean()
    assert remaining < 0.3 * (full - base).abs().mean()


def flakes(speed: int, num_frames: int = 13) -> torch.Tensor:
    """Bright dots on grey that fall by whole pixels."""
    tall = (torch.rand(1, 1, 1, 240, 64, generator=torch.Generator().manual_seed(1)) > 0.97).float()
    starts = [speed * (num_frames - 1 - i) for i in range(num_frames)]
    frames = [tall[..., start : start + 64, :] for start in starts]
    return (0.3 + 0.6 * torch.cat(frames, dim=2)).expand(1, 3, -1, -1, -1)


@pytest.mark.parametrize("speed", [1, 3, 9])
def test_the_speed_of_what_falls_is_found(speed) -> None:
    video = flakes(speed)
    assert fall_speed(video, torch.full_like(video, 0.3)) == pytest.approx(speed, abs=0.2)


def test_a_moving_scene_without_particles_has_no_fall_and_does_not_hide_one() -> None:
    scene = flakes(2)
    assert fall_speed(scene, scene) is None
    assert fall_speed(scene[:, :, :5], torch.full_like(scene[:, :, :5], 0.3)) is None
    both = torch.maximum(scene, flakes(8))
    assert fall_speed(both, scene) == pytest.approx(8, abs=0.5)


@pytest.mark.parametrize("family", [SNOW, RAIN], ids=lambda family: family.name)
def test_snow_and_rain_fall_and_rain_falls_faster(family) -> None:
    video = torch.full((1, 3, 13, 96, 128), 0.3)
    speed = fall_speed(family.edit(video, 5), family.edit.base(video))
    assert speed is not None
    assert 0.5 < speed < 20
    if family is RAIN:
        other = fall_speed(SNOW.edit(video, 5), SNOW.edit.base(video))
        assert other is not None
        assert speed > other
