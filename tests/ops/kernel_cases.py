"""Fused kernels beside their plain definitions; as a script, compared on Triton's CPU interpreter."""

import json
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gdn_projections import in_fp64, projections
from vivace.ops import (
    attention,
    depthwise_glu,
    rotary,
    row_norm,
    temporal_sum,
    triton_depthwise,
    triton_rows,
    triton_text_attention,
)
from vivace.ops.fp8_linear import Fp8Rows, quantize_rows, quantize_tokens
from vivace.ops.frame_gdn import naive, triton_forward

# batch, heads, frames, tokens, width, chunks
GDN_SIZES = [(1, 2, 3, 20, 12, (3,)), (2, 1, 5, 21, 24, (2, 1, 2)), (1, 1, 1, 5, 112, (1,))]


def distance(fast: Tensor, definition: Tensor) -> float:
    wanted = definition.cpu().double()
    return ((fast.cpu().double() - wanted).norm() / wanted.norm()).item()


def gdn(
    normal: Callable[..., Tensor], tiles: triton_forward.Tiles | None, num_sizes: int = len(GDN_SIZES)
) -> Iterator[tuple[str, float]]:
    for b, heads, frames, tokens, width, chunks in GDN_SIZES[:num_sizes]:
        given = projections(b, heads, frames, tokens, width, normal)
        kept = normal(b, heads, width, width).float(), normal(b, heads, width).float().abs() + 0.1
        for state in ((None, None), kept):
            ours = triton_forward.forward(given, chunks, *state, tiles)
            exact = in_fp64(given)
            start = () if state[0] is None else tuple(part.double() for part in kept)
            mixed, *last = naive.frame_gdn(exact.inputs(), chunks, *start)
            for name, fast, wanted in zip(
                ("tokens", "numerator", "denominator"), ours, (exact.gated(mixed), *last)
            ):
                yield (
                    f"gdn {chunks} {'from a state' if start else 'from nothing'} {name}",
                    distance(fast, wanted),
                )


def plain(*given: Tensor | None) -> tuple[Tensor | None, ...]:
    """The same numbers where no kernel serves, in fp64."""
    return tuple(None if x is None else x.cpu().double() for x in given)


def rows(normal: Callable[..., Tensor]) -> Iterator[tuple[str, float]]:
    x, added = normal(2, 3, 5, 24), normal(2, 3, 5, 24)
    for frames in (1, 3):
        shift, scale, gate = (normal(2, frames, 1, 24) for _ in range(3))
        normed = triton_rows.residual_norm(x, None, None, shift, scale, 1e-6)[1]
        yield f"modulated norm {frames}", distance(normed, row_norm.modulated_norm(*plain(x, shift, scale)))
        summed = triton_rows.residual_norm(x, added, gate, None, None, 1e-6)[0]
        yield f"gated sum {frames}", distance(summed, row_norm.gated_sum(*plain(x, gate, added)))
        both = triton_rows.residual_norm(x, added, None, shift, scale, 1e-6)
        wanted_both = row_norm.sum_and_modulated_norm(*plain(x, added, shift, scale))
        for part, wanted in zip(both, wanted_both):
            yield f"sum and modulated norm {frames}", distance(part, wanted)
        both = triton_rows.residual_norm(x, added, gate, shift, scale, 1e-6)
        wanted_both = row_norm.gated_sum_and_modulated_norm(*plain(x, gate, added, shift, scale))
        for part, wanted in zip(both, wanted_both):
            yield f"gated sum and modulated norm {frames}", distance(part, wanted)
        made = (
            triton_rows.residual_norm(x, added, gate, None, None, 1e-6, rounds=True),
            triton_rows.residual_norm(x, added, None, shift, scale, 1e-6, rounds=True),
        )
        for one, source in zip(made, (made[0].summed, made[1].normed)):
            # what a pass of its own would round to
            wanted_rows = quantize_tokens(source.cpu())
            yield f"rounded scales {frames}", distance(one.rounded[1], wanted_rows.scales)
            if x.is_cuda:
                yield f"rounded rows {frames}", distance(one.rounded[0].float(), wanted_rows.values.float())
    weight, angles = normal(24), normal(3, 5, 4).float()
    table = torch.polar(torch.ones_like(angles), angles)
    for norm_weight in (weight, None):
        turned = triton_rows.rms_rotate(x.flatten(1, 2), norm_weight, table.flatten(0, 1), 8, 1e-5)
        heads = turned.view(2, 3, 5, 3, 8).permute(0, 3, 1, 2, 4)
        wanted = row_norm.normed_rotated_heads(*plain(x, norm_weight), table.cpu(), 1e-5)
        yield f"rotation {'after' if norm_weight is not None else 'without'} a norm", distance(heads, wanted)
    strided = normal(1, 4, 48)[..., :24]
    normed = triton_rows.rms_rotate(strided, weight, None, 24, 1e-6)
    yield "rms norm", distance(normed, row_norm.rms_norm(*plain(strided, weight), 1e-6))
    # caches lie head by head or token by token
    past = normal(2, 3, 3, 5, 8), normal(2, 3, 5, 3, 8).permute(0, 3, 1, 2, 4)
    current = normal(2, 3, 2, 5, 8), normal(2, 2, 5, 3, 8).permute(0, 3, 1, 2, 4)
    wanted = rotary.joined_rotated(plain(*past), table.cpu(), plain(*current))
    for part, ours, right in zip(("keys", "values"), triton_rows.joined_heads(past, table, current), wanted):
        yield f"joined {part}", distance(ours, right)
    parts = [normal(2, 3, 5, 24) for _ in range(3)]
    later = normal(2, 2, 5, 24)
    wanted = temporal_sum.temporal_sum(*plain(*parts, later), (3,))
    yield "temporal sum", distance(triton_rows.temporal_sum(*parts, later), wanted)
    wide = 3 * normal(7, 40)
    # the interpreter rounds to 8 bits in its own way, so only a GPU compares values too
    ours, wanted_rows = Fp8Rows(*triton_rows.quantize_rows(wide)), quantize_rows(wide.cpu())
    yield "fp8 scales", distance(ours.scales, wanted_rows.scales)
    if wide.is_cuda:
        yield "fp8 rows", distance(ours.dequantized(), wanted_rows.dequantized())


def text_attention(normal: Callable[..., Tensor]) -> Iterator[tuple[str, float]]:
    for num_keys, seen in ((5, [0, 3]), (70, [1, 40, 69]), (100, [0, 5]), (100, [80])):
        query, key, value = (normal(2, n, 3, 12).transpose(1, 2) for n in (50, num_keys, num_keys))
        mask = torch.full((2, 1, 1, num_keys), float("-inf"))
        mask[..., seen] = 0
        mask[1, ..., 0] = 0
        mask = mask.to(query)
        fused = triton_text_attention.text_attention(query, key, value, mask)
        wanted = attention.attend(*plain(query, key, value, mask))
        yield f"text attention to {seen} of {num_keys}", distance(fused, wanted)


def depthwise(normal: Callable[..., Tensor], *, fast: bool) -> Iterator[tuple[str, float]]:
    for width, size in ((10, (4, 6)), (72, (3, 9)), (64, (1, 1))):
        hidden = normal(1, 2, size[0] * size[1], 2 * width)
        weight, bias = normal(2 * width, 1, 3, 3), normal(2 * width)
        fused = triton_depthwise.silu_depthwise_glu(hidden.flatten(0, 1), weight, bias, *size, fast=fast)
        wanted = depthwise_glu.silu_depthwise_glu(*plain(hidden, weight, bias), size)
        yield f"depthwise {width} {size}", distance(fused[None], wanted)


def main() -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def half(*shape: int) -> Tensor:
        return normal(*shape).half()

    small = {"output_tokens": 16, "state_rows": 16}
    found = [
        *gdn(normal, triton_forward.FP32_TILES._replace(**small)),
        # the interpreter knows fp16 but not bf16; both take the same path
        *(
            (f"fp16 {name}", error)
            for name, error in gdn(half, triton_forward.DEFAULT_TILES._replace(**small, is_fast=False), 1)
        ),
        *rows(normal),
        *text_attention(normal),
        *depthwise(normal, fast=False),
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
