import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streaming import partitions
from vivace.ops.frame_gdn import FrameGdnInputs, chunked, frame_gdn, naive

SIZES = [(1, 1, 1, 15, 6, 6), (2, 3, 5, 7, 10, 6), (1, 2, 4, 1, 4, 12)]


def random_inputs(b=1, heads=2, t=6, s=5, dk=8, dv=8, dtype=torch.float64, seed=0) -> FrameGdnInputs:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    scale = (dk * s) ** -0.5
    return FrameGdnInputs(
        query=normal(b, heads, t, s, dk).relu(),
        key=normal(b, heads, t, s, dk).relu() * scale,
        rotated_query=normal(b, heads, t, s, dk),
        rotated_key=normal(b, heads, t, s, dk) * scale,
        value=normal(b, heads, t, s, dv),
        beta=normal(b, heads, t, s).sigmoid(),
        decay=normal(b, heads, t).sigmoid(),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("has_state", [False, True])
def test_the_matmul_form_equals_the_definition_with_gradients(size, has_state):
    b, heads, t, _, dk, dv = size
    inputs = FrameGdnInputs(*(tensor.requires_grad_() for tensor in random_inputs(*size)))
    state = ()
    if has_state:
        numerator = torch.randn(b, heads, dv, dk, dtype=torch.float64, requires_grad=True)
        denominator = torch.rand(b, heads, dk, dtype=torch.float64, requires_grad=True)
        state = (numerator, denominator)
    chunks = {1: (1,), 4: (3, 1), 5: (1, 2, 2)}[t]
    results = [form.frame_gdn(inputs, chunks, *state) for form in (naive, chunked)]
    # weights keep the loss from being blind to a sign or an order
    weights = [torch.randn_like(tensor) for tensor in results[0]]
    # rows of zero denominators explode: compare where the definition is well conditioned
    is_tame = results[0][0].abs() < 1e3
    gradients = []
    for result in results:
        loss = (result[0] * weights[0] * is_tame).sum()
        loss = loss + (result[1] * weights[1]).sum() + (result[2] * weights[2]).sum()
        gradients.append(torch.autograd.grad(loss, [*inputs, *state]))
    for ours, definition in zip(results[1], results[0]):
        torch.testing.assert_close(ours, definition, rtol=1e-9, atol=1e-9)
    for ours, definition in zip(*reversed(gradients)):
        torch.testing.assert_close(ours, definition, rtol=1e-7, atol=1e-7)


@given(partitions(7, 4), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_definition_streams_bit_identically(sizes, seed):
    inputs = random_inputs(t=7, seed=seed)
    whole, *last = naive.frame_gdn(inputs, sizes)
    state: tuple[Tensor, ...] = ()
    parts, start = [], 0
    for size in sizes:
        part, *state = naive.frame_gdn(inputs.frames(start, start + size), (size,), *state)
        parts.append(part)
        start += size
    assert torch.equal(torch.cat(parts, dim=2), whole)
    assert all(torch.equal(streamed, offline) for streamed, offline in zip(state, last))


@given(partitions(7, 4), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_the_matmul_form_streams_within_rounding(sizes, seed):
    inputs = random_inputs(t=7, seed=seed, dtype=torch.float32)
    inputs = inputs._replace(query=inputs.query + 0.1, key=inputs.key + 0.01)
    whole, *last = frame_gdn(inputs, sizes)
    state: tuple[Tensor, ...] = ()
    parts, start = [], 0
    for size in sizes:
        part, *state = frame_gdn(inputs.frames(start, start + size), (size,), *state)
        parts.append(part)
        start += size
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=2e-5, atol=2e-5)
    for streamed, offline in zip(state, last):
        torch.testing.assert_close(streamed, offline, rtol=2e-5, atol=2e-6)


def test_another_chunking_is_another_result():
    inputs = random_inputs(t=6)
    one, _, _ = naive.frame_gdn(inputs, (6,))
    two, _, _ = naive.frame_gdn(inputs, (3, 3))
    assert not torch.allclose(one[:, :, :3], two[:, :, :3])


def test_a_chunk_never_sees_the_next_one():
    inputs = random_inputs(t=6)
    changed = FrameGdnInputs(*(tensor.clone() for tensor in inputs))
    changed.value[:, :, 4:] += 1
    before, _, _ = chunked.frame_gdn(inputs, (2, 2, 2))
    after, _, _ = chunked.frame_gdn(changed, (2, 2, 2))
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4:], after[:, :, 4:])


def test_a_transition_never_expands_the_state():
    """SANA-WM after Eq. 5: with keys scaled by 1/sqrt(dk s) the norm of M is at most the decay."""
    inputs = random_inputs(b=3, t=4, s=40, dk=16)
    normalised = torch.nn.functional.rms_norm(inputs.key, (16,)).relu() * (16 * 40) ** -0.5
    written = normalised * inputs.beta[..., None]
    transition = inputs.decay[..., None, None] * (
        torch.eye(16, dtype=torch.float64) - written.mT @ normalised
    )
    norms = torch.linalg.matrix_norm(transition, ord=2)
    assert (norms <= inputs.decay + 1e-12).all()


def test_half_precision_inputs_keep_an_fp32_state():
    inputs = FrameGdnInputs(*(tensor.bfloat16() for tensor in random_inputs()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, numerator, denominator = frame_gdn(inputs, (3, 3))
    assert out.dtype == numerator.dtype == denominator.dtype == torch.float32
