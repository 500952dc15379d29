"""The trainable kernels of the gated delta rule beside the definition, with gradients; also a script.

Triton decides at its import whether kernels are interpreted, so the CPU's test needs a process of its own.
"""

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from vivace.ops.frame_gdn import FrameGdnInputs, naive, triton_training

# batch, heads, frames, tokens, dk, dv, chunks
SIZES = [
    (1, 2, 3, 20, 12, 12, (3,)),
    (2, 1, 5, 41, 10, 24, (2, 1, 2)),
    (1, 2, 4, 1, 18, 6, (1, 3)),
    (1, 1, 1, 70, 20, 20, (1,)),
]


def inputs(size: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> FrameGdnInputs:
    """Random arguments whose denominators stay away from zero."""
    b, heads, t, s, dk, dv = size
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    scale = (dk * s) ** -0.5
    made = FrameGdnInputs(
        query=normal(b, heads, t, s, dk).relu() + 0.1,
        key=(normal(b, heads, t, s, dk).relu() + 0.1) * scale,
        rotated_query=normal(b, heads, t, s, dk),
        rotated_key=normal(b, heads, t, s, dk) * scale,
        value=normal(b, heads, t, s, dv),
        beta=normal(b, heads, t, s).sigmoid(),
        decay=normal(b, heads, t).sigmoid(),
    )
    return FrameGdnInputs(*(x.to(device, dtype) for x in made))


def check(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, float]]:
    """Relative distances of results and gradients to those of the definition in fp64."""
    for *size, chunks in SIZES:
        given = inputs(tuple(size), device, dtype)
        b, heads, _, _, dk, dv = size
        generator = torch.Generator().manual_seed(1)
        state = (
            torch.randn(b, heads, dv, dk, generator=generator),
            torch.rand(b, heads, dk, generator=generator),
        )
        for start in ((), tuple(x.to(device) for x in state)):
            results = []
            for form, wide in ((triton_training, None), (naive, torch.float64)):
                leaves = [x.detach().to(wide or x.dtype).requires_grad_() for x in (*given, *start)]
                made = form.frame_gdn(FrameGdnInputs(*leaves[:7]), chunks, *leaves[7:])
                generator = torch.Generator().manual_seed(2)
                # weights keep the loss from being blind to a sign or an order; the last state counts too
                weights = [torch.randn(x.shape, generator=generator).to(x) for x in made]
                loss = sum((x * weight).sum() for x, weight in zip(made, weights))
                results.append((*made, *torch.autograd.grad(loss, leaves)))
            names = ("tokens", "numerator", "denominator", *FrameGdnInputs._fields, "first S", "first z")
            for name, ours, definition in zip(names, *results):
                far = (ours.double() - definition).norm().item()
                # one frame from nothing does not depend on its decay: there the gradient is exactly 0
                far /= definition.norm().item() or 1.0
                yield f"{chunks} {'from a state' if start else 'from nothing'}: {name}", far


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(list(check(torch.device("cpu"), torch.float32))))
