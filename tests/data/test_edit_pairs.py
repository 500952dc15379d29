import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.core.errors import InputError
from vivace.data.edit_pairs import (
    FAMILIES,
    IDENTITY,
    NIGHT,
    PAIRS,
    RAIN,
    SNOW,
    EditFamily,
    FamilyPair,
    combine,
    family_named,
    make_pair,
)

EVERYTHING = (*FAMILIES, *PAIRS)
CHANGING = tuple(family for family in EVERYTHING if family.name != "identity")
SIZE = (40, 67)


@pytest.fixture(autouse=True)
def _one_thread():
    # The pictures are tiny: threads would cost more than they bring.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def footage(num_frames: int = 3, num_streams: int = 2) -> torch.Tensor:
    """Soft coloured shapes that move a little, with sky, ground and sensor noise."""
    generator = torch.Generator().manual_seed(3)
    height, width = SIZE
    rows = torch.linspace(0, 1, height).view(1, 1, height, 1)
    columns = torch.linspace(0, 1, width).view(1, 1, 1, width)
    time = torch.arange(num_frames).view(num_frames, 1, 1, 1)
    clips = []
    for _ in range(num_streams):
        sky = torch.tensor([0.55, 0.70, 0.92]).view(1, 3, 1, 1)
        ground = torch.tensor([0.30, 0.46, 0.18]).view(1, 3, 1, 1)
        picture = torch.where(rows < 0.45, sky, ground) * (0.85 + 0.15 * torch.sin(40 * columns + 30 * rows))
        for _ in range(6):
            y, x, radius = torch.rand(3, generator=generator).mul(torch.tensor([1.0, 1.0, 0.2])) + 0.04
            color = torch.rand(1, 3, 1, 1, generator=generator)
            inside = ((rows - y) ** 2 + (columns - x - 0.01 * time) ** 2).sqrt() < radius
            picture = torch.where(inside, color, picture)
        clips.append(picture + 0.02 * torch.randn(num_frames, 3, height, width, generator=generator))
    return torch.stack(clips).permute(0, 2, 1, 3, 4).clamp(0, 1).contiguous()


VIDEO = footage()


def name_of(family: EditFamily | FamilyPair) -> str:
    return family.name


@pytest.mark.parametrize("family", EVERYTHING, ids=name_of)
def test_an_edit_keeps_shape_and_dtype_stays_in_range_and_repeats_exactly(family):
    edited = make_pair(VIDEO, family, seed=5, first_frame=2)
    assert edited.shape == VIDEO.shape
    assert edited.dtype == VIDEO.dtype
    assert edited.min() >= 0
    assert edited.max() <= 1
    assert torch.equal(edited, make_pair(VIDEO, family, seed=5, first_frame=2))
    assert make_pair(VIDEO[:1, :, :1].to(torch.bfloat16), family, seed=5).dtype == torch.bfloat16


@pytest.mark.parametrize("family", [*FAMILIES, *PAIRS[:2]], ids=name_of)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.integers(1, 2), min_size=1, max_size=2),
    seed=st.integers(0, 99),
    start=st.integers(0, 9999),
)
def test_a_clip_edited_in_pieces_equals_the_clip_edited_whole(family, cuts, seed, start):
    whole = make_pair(VIDEO, family, seed, start)
    edges = sorted({0, *cuts, VIDEO.shape[2]})
    pieces = [make_pair(VIDEO[:, :, a:b], family, seed, start + a) for a, b in itertools.pairwise(edges)]
    torch.testing.assert_close(torch.cat(pieces, 2), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_one_clip_of_a_batch_is_edited_as_if_it_were_alone(family):
    alone = make_pair(VIDEO[1:], family, seed=9)
    torch.testing.assert_close(make_pair(VIDEO, family, seed=9)[1:], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_a_still_scene_stays_still_under_the_base_of_every_edit(family):
    still = VIDEO[:1, :, :1].expand(1, 3, 3, *SIZE)
    base = family.edit.base(still)
    torch.testing.assert_close(base, base[:, :, :1].expand_as(base), rtol=0, atol=1e-6)
    if family.edit.particles is None:
        assert torch.equal(base, make_pair(still, family, seed=1))


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_sensor_noise_does_not_make_an_edit_flicker(family):
    generator = torch.Generator().manual_seed(0)
    still = VIDEO[:1, :, :1].expand(1, 3, 2, *SIZE)
    noise = 0.01 * torch.randn(still.shape, generator=generator)
    edited = family.edit.base((still + noise).clamp(0, 1))
    flicker = (edited[:, :, 0] - edited[:, :, 1]).abs().mean()
    source = (noise[:, :, 0] - noise[:, :, 1]).abs().mean()
    assert flicker < 3.5 * source


@pytest.mark.parametrize("family", CHANGING, ids=name_of)
def test_every_family_but_identity_changes_the_picture_clearly(family):
    assert (family.edit.base(VIDEO) - VIDEO).abs().mean() > 0.04


def test_identity_changes_nothing():
    assert torch.equal(make_pair(VIDEO, IDENTITY, seed=0), VIDEO)


def test_every_two_families_differ_from_each_other():
    edited = {family.name: family.edit.base(VIDEO[:1, :, :1]) for family in EVERYTHING}
    for (one, a), (other, b) in itertools.combinations(edited.items(), 2):
        assert (a - b).abs().mean() > 0.02, (one, other)


def test_every_family_works_at_the_size_of_a_training_clip_and_at_odd_small_ones():
    for family, size in itertools.product(FAMILIES, ((192, 320), (31, 18))):
        edited = make_pair(
            torch.rand(1, 3, 1, *size, generator=torch.Generator().manual_seed(0)), family, seed=0
        )
        assert edited.isfinite().all(), family.name


@pytest.mark.parametrize("family", [SNOW, RAIN], ids=name_of)
def test_particles_lie_over_the_base_fall_and_depend_on_the_seed(family):
    assert family.edit.particles is not None
    shape = torch.Size((1, 3, 4, 96, 160))
    alpha, color = family.edit.particles(shape, 4, 100, torch.device("cpu"))
    assert alpha.shape == (1, 1, 4, 96, 160)
    assert color.shape == (1, 3, 1, 1, 1)
    density = (alpha > 0.2).float().mean((0, 1, 3, 4))
    assert density.min() > 0.005
    assert density.max() < 0.15
    assert density.max() < 1.35 * density.min()
    assert not torch.equal(alpha[:, :, 0], alpha[:, :, 1])
    other, _ = family.edit.particles(shape, 5, 100, torch.device("cpu"))
    assert not torch.equal(alpha, other)

    grey = torch.full(shape, 0.4)
    expected = torch.lerp(family.edit.base(grey), color, alpha)
    torch.testing.assert_close(make_pair(grey, family, 4, 100), expected)


def test_snow_falls_downwards():
    assert SNOW.edit.particles is not None
    alpha, _ = SNOW.edit.particles(torch.Size((1, 3, 2, 144, 240)), 4, 0, torch.device("cpu"))
    now, later = alpha[0, 0, 0], alpha[0, 0, 1]

    def agreement(rows: int) -> float:
        return float((now[10:-10] * later[10 + rows : 144 - 10 + rows]).mean())

    assert max(range(-6, 7), key=agreement) > 0


def test_a_combination_is_the_second_look_on_the_first_with_tinted_particles():
    edit = combine(SNOW.edit, NIGHT.edit)
    expected = NIGHT.edit.base(SNOW.edit.base(VIDEO))
    torch.testing.assert_close(edit.base(VIDEO), expected, rtol=0, atol=1e-6)
    assert edit.particles is not None
    assert SNOW.edit.particles is not None
    arguments = (VIDEO.shape, 1, 0, VIDEO.device)
    alpha, color = edit.particles(*arguments)
    day_alpha, day_color = SNOW.edit.particles(*arguments)
    assert torch.equal(alpha, day_alpha)
    assert color.mean() < day_color.mean()


def test_two_kinds_of_particles_cannot_be_combined():
    with pytest.raises(InputError, match="falling particles"):
        combine(SNOW.edit, RAIN.edit)


def test_names_are_unique_and_found():
    names = [family.name for family in EVERYTHING]
    assert len(set(names)) == len(names)
    assert len(FAMILIES) >= 17
    assert family_named("snow+night").edit.particles is not None
    assert family_named("snow") is SNOW
    with pytest.raises(InputError, match=r"'sno'.*pencil_sketch.*snow\+night"):
        family_named("sno")


@pytest.mark.parametrize(
    "video",
    [torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), torch.zeros(3, 2, 8, 8), torch.zeros(1, 1, 2, 8, 8)],
)
def test_a_video_of_another_form_is_refused_with_a_sentence(video):
    with pytest.raises(InputError, match="expected floating point RGB"):
        SNOW.edit(video, 0)
