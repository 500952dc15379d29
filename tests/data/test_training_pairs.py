"""Local, reverse and all other families behind the one contract of training pairs."""

import itertools
import random

import pytest
import torch

from vivace.core.errors import InputError
from vivace.data.edit_pairs import IDENTITY, OIL_PAINTING, PAIRS, SNOW, make_pair
from vivace.data.edits_object import SHAPES, draw_object, fixed_pose, random_color, wandering_pose
from vivace.data.local_families import (
    COLOR_NAMES,
    LOCAL_FAMILIES,
    LOCAL_GROUPS,
    NAMED_COLORS,
    LocalFamily,
    rivals_of,
    twin_pairs,
)
from vivace.data.training_pairs import (
    ALL,
    ReverseFamily,
    make_training_pair,
    reverse_of,
    training_family_named,
)

SIZE = (48, 80)
CPU = torch.device("cpu")
# Of every kind one or two with all their parts.
SOME = [
    training_family_named(name)
    for name in (
        "add_red_balloon_right",
        "add_yellow_star_top",
        "remove_object",
        "remove_ball",
        "recolor_object_blue",
        "recolor_box_green",
        "blur_background",
        "gray_behind_ball",
        "dark_behind_balloon",
        "undo_snow",
        "snow+night",
    )
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def footage(num_frames: int = 4, num_streams: int = 2) -> torch.Tensor:
    """Colours with texture that move a little."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(num_streams, 3, 5, 8, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, size=(SIZE[0], SIZE[1] + num_frames), mode="bicubic")
    wide = wide + 0.2 * torch.rand(wide.shape, generator=generator) - 0.1
    frames = [wide[..., i : i + SIZE[1]] for i in range(num_frames)]
    return torch.stack(frames, 2).clamp(0.05, 0.95)


VIDEO = footage()


def local(name: str) -> LocalFamily:
    family = training_family_named(name)
    assert isinstance(family, LocalFamily)
    return family


@pytest.mark.parametrize("family", SOME, ids=lambda family: family.name)
def test_a_pair_repeats_exactly_keeps_form_and_range_and_may_be_made_in_pieces(family):
    pair = make_training_pair(VIDEO, family, 5, 9000)
    again = make_training_pair(VIDEO, family, 5, 9000)
    for half, other in ((pair.source, again.source), (pair.target, again.target)):
        assert half.shape == VIDEO.shape
        assert half.dtype == VIDEO.dtype
        assert half.min() >= 0
        assert half.max() <= 1
        assert torch.equal(half, other)
    pieces = [make_training_pair(VIDEO[:, :, a:b], family, 5, 9000 + a) for a, b in ((0, 1), (1, 4))]
    for name in ("source", "target"):
        joined = torch.cat([getattr(piece, name) for piece in pieces], 2)
        torch.testing.assert_close(joined, getattr(pair, name), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", LOCAL_FAMILIES, ids=lambda family: family.name)
def test_source_and_target_of_a_local_family_differ_in_the_mask_and_nowhere_else(family):
    pair = make_training_pair(VIDEO, family, 11, 30)
    assert pair.mask is not None
    assert pair.mask.shape == (2, 1, 4, *SIZE)
    assert pair.mask.dtype == torch.bool
    change = (pair.source - pair.target).abs().amax(1, keepdim=True)
    assert change[~pair.mask].max() <= 0.04
    assert change[pair.mask].mean() > 0.02
    share = pair.mask.float().mean((1, 2, 3, 4))
    if family.kind == "background":
        assert share.min() > 0.7
    else:
        assert share.max() < 0.3
        assert share.min() > 0.002


@pytest.mark.parametrize("family", [each for each in SOME if isinstance(each, LocalFamily)], ids=str)
def test_a_stream_of_a_batch_is_what_it_would_be_alone_with_its_own_seed(family):
    whole, alone = make_training_pair(VIDEO, family, 3), make_training_pair(VIDEO[1:], family, 4)
    assert torch.equal(whole.source[1:], alone.source)
    assert torch.equal(whole.target[1:], alone.target)


def test_an_added_object_is_the_same_for_every_seed_and_frame_and_leaves_the_source_alone():
    family = local("add_red_balloon_right")
    still = VIDEO[:, :, :1].expand(-1, -1, 4, -1, -1)
    pair = make_training_pair(still, family, 0, 0)
    assert torch.equal(pair.source, still)
    assert torch.equal(pair.target, make_training_pair(still, family, 77, 1234).target)
    assert torch.equal(pair.target, pair.target[:, :, :1].expand_as(pair.target))


@pytest.mark.parametrize(
    ("place", "row", "column"), [("left", 0.42, 0.18), ("right", 0.42, 0.82), ("top", 0.2, 0.5)]
)
def test_an_added_object_lies_where_and_in_the_color_that_its_name_says(place, row, column):
    grey = torch.full((1, 3, 1, 96, 160), 0.5)
    pair = make_training_pair(grey, local(f"add_red_star_{place}"), 0)
    red = pair.target[0, 0, 0] - pair.target[0, 1:, 0].amax(0) > 0.2
    rows, columns = torch.nonzero(red, as_tuple=True)
    assert rows.float().mean() / 96 == pytest.approx(row, abs=0.05)
    assert columns.float().mean() / 160 == pytest.approx(column, abs=0.03)


def test_taking_away_gives_the_footage_back_and_another_object_stays_sometimes():
    pair = make_training_pair(VIDEO, local("remove_object"), 2)
    assert torch.equal(pair.target, VIDEO)
    has_other = [not torch.equal(make_training_pair(VIDEO[:1], local("remove_ball"), i).target, VIDEO[:1])
                 for i in range(40)]  # fmt: skip
    assert 3 <= sum(has_other) <= 25


@pytest.mark.parametrize(
    "names", [("remove_ball", "remove_kite"), ("recolor_box_blue", "recolor_star_red")], ids=str
)
def test_twins_share_a_source_and_each_changes_what_it_names(names):
    families = local(names[0]), local(names[1])
    a, b = twin_pairs(families, VIDEO, 21, 5)
    assert torch.equal(a.source, b.source)
    for pair, other in ((a, b), (b, a)):
        assert pair.mask is not None
        change = (pair.source - pair.target).abs().amax(1, keepdim=True)
        assert change[~pair.mask].max() <= 0.04
        assert change[pair.mask].mean() > 0.02
        assert other.mask is not None
        assert (pair.mask & ~other.mask).any()
    if families[0].kind == "remove":
        for pair, other in ((a, b), (b, a)):
            left = torch.where(other.mask, VIDEO, pair.target)
            assert (left - VIDEO).abs().max() <= 0.04
    second = twin_pairs(families, VIDEO[1:], 22, 5)[1]
    assert torch.equal(second.target, b.target[1:])
    with pytest.raises(InputError, match="two removals or two recolourings"):
        twin_pairs((families[0], local("add_red_star_left")), VIDEO, 0)
    with pytest.raises(InputError, match="different shapes"):
        twin_pairs((families[0], families[0]), VIDEO, 0)


def test_what_may_be_meant_instead():
    assert {each.name for each in rivals_of(local("remove_ball"))} == {
        f"remove_{shape}" for shape in SHAPES if shape != "ball"
    }
    assert all(each.kind == "recolor" for each in rivals_of(local("recolor_box_blue")))
    for name in ("remove_object", "add_red_star_left", "gray_behind_ball"):
        assert rivals_of(local(name)) == ()


@pytest.mark.parametrize("color", COLOR_NAMES)
def test_a_recolored_object_has_the_named_hue_and_had_another(color):
    pair = make_training_pair(VIDEO, local(f"recolor_heart_{color}"), 8)
    assert pair.mask is not None
    inside = pair.mask.expand_as(pair.target)
    own = torch.tensor(NAMED_COLORS[color])
    for half, is_near in ((pair.target, True), (pair.source, False)):
        mean = half[inside].view(-1) if half.shape[0] == 1 else half.movedim(1, 0)[:, pair.mask[:, 0]].mean(1)
        similarity = torch.nn.functional.cosine_similarity(mean, own, dim=0)
        assert (similarity > 0.9) == is_near


def test_the_object_keeps_its_colors_before_a_gray_background():
    pair = make_training_pair(VIDEO, local("gray_background"), 8)
    assert pair.mask is not None
    spread = pair.target.amax(1, keepdim=True) - pair.target.amin(1, keepdim=True)
    assert spread[pair.mask].median() < 1e-3
    kept = ~pair.mask.expand_as(pair.target)
    assert torch.allclose(pair.target[kept], pair.source[kept], atol=0.03)


def test_global_families_and_combinations_keep_their_source():
    for family in (SNOW, PAIRS[0], IDENTITY):
        pair = make_training_pair(VIDEO, family, 3, 40)
        assert pair.source is VIDEO
        assert pair.mask is None
        assert torch.equal(pair.target, make_pair(VIDEO, family, 3, 40))


def test_a_reverse_swaps_source_and_target_and_its_reverse_is_the_family():
    for family in (SNOW, local("add_blue_ball_left")):
        back = reverse_of(family)
        there, pair = make_training_pair(VIDEO, family, 3, 7), make_training_pair(VIDEO, back, 3, 7)
        assert torch.equal(pair.source, there.target)
        assert torch.equal(pair.target, there.source)
        assert reverse_of(back) == family
    assert reverse_of(IDENTITY) is IDENTITY
    for family in (OIL_PAINTING, PAIRS[0], local("remove_ball"), local("recolor_ball_red")):
        with pytest.raises(InputError, match="cannot be taken back"):
            reverse_of(family)


def test_names_are_unique_and_found():
    assert len({family.name for family in ALL}) == len(ALL)
    assert training_family_named("undo_snow") == ReverseFamily(of=SNOW)
    assert {family.kind for group in LOCAL_GROUPS for family in group} == {
        "add", "remove", "recolor", "background",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"'add_pink_ball'.*add_red_ball_left"):
        training_family_named("add_pink_ball")
    with pytest.raises(InputError, match="expected floating point RGB"):
        make_training_pair(torch.zeros(1, 3, 1, 8, 8, dtype=torch.uint8), local("remove_ball"), 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_object_is_round_in_light_smooth_at_the_edge_and_of_its_own_form(shape):
    pose = fixed_pose(0.5, 0.5, 0.6, (1, 96, 160), CPU)
    drawn = draw_object(shape, (0.8, 0.2, 0.2), pose, (96, 160))
    inside = drawn.alpha[0, 0] > 0.99
    area = inside.float().sum() / (0.3 * 96) ** 2
    assert 0.5 < area < 3.3
    between = ((drawn.alpha > 0.02) & (drawn.alpha < 0.98)).float().sum()
    assert between > 20
    shade = drawn.color[0, 0][inside]
    assert shade.std() > 0.05
    others = [draw_object(each, (0.8, 0.2, 0.2), pose, (96, 160)).alpha for each in SHAPES if each != shape]
    assert min((drawn.alpha - other).abs().mean() for other in others) > 0.005


def test_a_wandering_object_moves_smoothly_keeps_on_the_screen_and_some_stand_still():
    speeds = []
    for seed in range(60):
        pose = wandering_pose(random.Random(seed), 100_000, (50, 192, 320), CPU)
        assert pose.x.min() >= 0
        assert pose.x.max() <= 320
        assert pose.y.min() >= 0
        assert pose.y.max() <= 192
        assert pose.radius.min() > 0.12 * 192 / 2
        assert pose.radius.max() < 0.44 * 192 / 2
        step = torch.hypot(pose.x.diff(), pose.y.diff())
        assert step.max() < 8
        speeds.append(float(step.mean()))
    still = sum(speed == 0 for speed in speeds)
    assert 5 <= still <= 30
    assert max(speeds) > 1.5


def test_random_colors_keep_away_from_a_hue():
    import colorsys

    rng = random.Random(0)
    for hue in itertools.islice(itertools.cycle((0.0, 0.3, 0.9)), 60):
        found = colorsys.rgb_to_hsv(*random_color(rng, hue))[0]
        apart = abs(found - hue) % 1
        assert min(apart, 1 - apart) > 0.16
