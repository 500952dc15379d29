import pytest
import torch

from vivace.ops.linear_attention import LinearInputs, linear_attention


def inputs(frames: int = 4, seed: int = 0) -> LinearInputs:
    generator = torch.Generator().manual_seed(seed)
    query, key, turned_query, turned_key, value = torch.randn(
        5, 2, 3, frames, 5, 8, generator=generator, dtype=torch.float64
    )
    return LinearInputs(query.relu(), key.relu(), turned_query, turned_key, value)


def by_hand(given: LinearInputs, seen: list[int], frame: int, token: int) -> torch.Tensor:
    """One token of stream 0 and head 0, as the formula reads: a sum over all tokens it may see."""
    numerator, denominator = torch.zeros(8, dtype=torch.float64), 1e-8
    for t in seen:
        for s in range(5):
            at = (0, 0, t, s)
            weight = given.rotated_key[at] @ given.rotated_query[0, 0, frame, token]
            numerator = numerator + weight * given.value[at]
            denominator = denominator + given.key[at] @ given.query[0, 0, frame, token]
    return numerator / denominator


def test_a_token_sees_its_own_chunk_whole_and_all_before_it():
    given = inputs()
    out, _, _ = linear_attention(given, (1, 2, 1))
    for frame, seen in ((0, [0]), (1, [0, 1, 2]), (2, [0, 1, 2]), (3, [0, 1, 2, 3])):
        torch.testing.assert_close(out[0, 0, frame, 2], by_hand(given, seen, frame, 2))


def test_the_two_sums_carry_a_stream_on():
    given = inputs()
    whole, numerator, denominator = linear_attention(given, (2, 2))
    first, *sums = linear_attention(LinearInputs(*(x[:, :, :2] for x in given)), (2,))
    second, *after = linear_attention(LinearInputs(*(x[:, :, 2:] for x in given)), (2,), *sums)
    torch.testing.assert_close(torch.cat([first, second], dim=2), whole)
    torch.testing.assert_close(after[0], numerator)
    torch.testing.assert_close(after[1], denominator)


def test_sums_stay_fp32_under_autocast():
    given = LinearInputs(*(x.float() for x in inputs()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, numerator, denominator = linear_attention(given, (4,))
    assert {out.dtype, numerator.dtype, denominator.dtype} == {torch.float32}


def test_no_chunk_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        linear_attention(inputs(), ())
