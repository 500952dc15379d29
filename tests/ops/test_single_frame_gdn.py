import pytest
import torch

from vivace.layers.rope import rotation_table
from vivace.ops.frame_gdn import GdnProjections, chunked, gated_frame_gdn, single_frame
from vivace.ops.row_norm import rms_norm

ROWS, COLUMNS, HEADS, WIDTH = 2, 3, 2, 12
DIM = HEADS * WIDTH


def projections(batch: int, dtype: torch.dtype) -> GdnProjections:
    generator = torch.Generator().manual_seed(batch)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    tokens = batch, 1, ROWS * COLUMNS
    # slices of one product, as a layer makes them
    query, key, value = normal(*tokens, 3 * DIM).chunk(3, dim=-1)
    return GdnProjections(
        query=query,
        key=key,
        value=value,
        query_scale=normal(DIM),
        key_scale=normal(DIM),
        table=rotation_table([5], ROWS, COLUMNS, WIDTH, torch.device("cpu")),
        write_logit=normal(*tokens, HEADS),
        decay_logit=normal(*tokens, HEADS),
        log_rate=normal(HEADS),
        rate_bias=normal(HEADS),
        output_logit=normal(*tokens, DIM),
    )


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_few_operations_equal_the_definition(batch, has_state, dtype, limit):
    given = projections(batch, dtype)
    state = (None, None)
    if has_state:
        # a denominator of positive sums, as streams have, or quotients explode
        state = torch.randn(batch, HEADS, WIDTH, WIDTH), 1 + torch.rand(batch, HEADS, WIDTH)
    mixed, *states = chunked.frame_gdn(given.inputs(), (1,), *state)
    expected = given.gated(mixed), *states
    for ours, definition in zip(single_frame.forward(given, *state), expected):
        assert ours.dtype == definition.dtype
        error = (ours - definition).float().norm() / definition.float().norm()
        assert error < limit


def test_they_serve_single_frames_without_a_gradient(monkeypatch):
    asked = []

    def forward(*given):
        asked.append(given)
        return few_operations(*given)

    few_operations = single_frame.forward
    monkeypatch.setattr(single_frame, "forward", forward)
    given = projections(1, torch.float32)
    gated_frame_gdn(given, (1,))
    assert len(asked) == 1
    assert gated_frame_gdn(given._replace(value=given.value.clone().requires_grad_()), (1,))[0].requires_grad
    wide = GdnProjections(*(x.double() if x.is_floating_point() else x for x in given))
    assert gated_frame_gdn(wide, (1,))[0].dtype == torch.float64
    assert len(asked) == 1


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_the_norm_without_a_gradient_is_the_norm(dtype, limit):
    x, weight = torch.randn(3, 5, 24).to(dtype), torch.randn(24).to(dtype)
    expected = rms_norm(x.double(), weight.double(), 1e-5)
    ours = rms_norm(x, weight, 1e-5)
    assert ours.dtype == dtype
    assert (ours - expected).norm() / expected.norm() < limit
