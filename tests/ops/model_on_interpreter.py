"""A small model with every fused kernel beside itself with none; a script, for Triton's CPU interpreter."""

import json
from unittest import mock

import torch
from torch import Tensor

from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.state.tree import tree_tensors

SPEC = DitSpec(
    in_channels=6,
    out_channels=3,
    dim=24,
    num_heads=2,
    mlp_ratio=2,
    text_dim=10,
    mixers=hybrid_mixers(2, 1, GdnSpec(), SoftmaxSpec(num_sink_frames=1, window_frames=1)),
)
CHOOSERS = (
    "vivace.layers.feed_forward.serves",
    "vivace.ops.attention.serves",
    "vivace.ops.depthwise_glu.serves",
    "vivace.ops.frame_gdn.serves",
    "vivace.ops.rotary.serves",
    "vivace.ops.row_norm.serves",
    "vivace.ops.temporal_sum.serves",
)


def rollout(dit: StreamingDit) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, False, True, False]])
    text = dit.embed_text(torch.randn(1, 5, 10, generator=generator), mask)
    state, outs = None, []
    for _ in range(3):
        latent = torch.randn(1, 6, 2, 2, 3, generator=generator)
        out, state = dit(latent, torch.full((1, 1), 0.7), text, state, write=True)
        outs.append(out)
    return outs + [tensor for _, tensor in tree_tensors(state.peek())]


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    dit = StreamingDit(SPEC)
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    plain = rollout(dit)
    for name in CHOOSERS:
        mock.patch(name, return_value=True).start()
    fused = rollout(dit)
    found = [((a - b).norm() / b.norm()).item() for a, b in zip(fused, plain, strict=True)]
    found.append(float(all(torch.equal(a, b) for a, b in zip(fused, plain))))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
