"""A precision policy changes the layers that it names, and no others."""

import pytest
import torch
from torch import Tensor

from vivace.core.config import from_json, to_json
from vivace.core.errors import ConfigError
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.layers.quantized import QuantizedLinear
from vivace.models.precision import PrecisionPolicy, PrecisionRule, apply_precision
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers

SPEC = DitSpec(
    in_channels=6,
    out_channels=3,
    dim=48,
    num_heads=2,
    mlp_ratio=2,
    text_dim=10,
    mixers=hybrid_mixers(4, 2, GdnSpec(), SoftmaxSpec(num_sink_frames=1, window_frames=2)),
)


def model() -> StreamingDit:
    torch.manual_seed(3)
    built = StreamingDit(SPEC)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return built.eval().requires_grad_(False)


@torch.no_grad()
def rollout(dit: StreamingDit) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    text = dit.embed_text(torch.randn(1, 5, 10, generator=generator), torch.ones(1, 5, dtype=torch.bool))
    state, outs = None, []
    for _ in range(4):
        out, state = dit(
            torch.randn(1, 6, 2, 4, 6, generator=generator), torch.ones(1, 1), text, state, write=True
        )
        outs.append(out)
    return torch.cat(outs, dim=2)


def rel_rmse(policy: PrecisionPolicy) -> float:
    dit = model()
    reference = rollout(dit)
    apply_precision(dit.blocks, policy)
    return ((rollout(dit) - reference).square().mean().sqrt() / reference.std()).item()


def test_fewer_bits_move_the_latents_more():
    errors = [rel_rmse(PrecisionPolicy(default=each)) for each in ("bf16", "fp8", "nvfp4")]
    assert errors[0] == 0
    assert 1e-4 < errors[1] < 0.05
    assert 2 * errors[1] < errors[2] < 0.5


def test_gates_embeddings_and_convolutions_stay():
    dit = model()
    assert apply_precision(dit.blocks, PrecisionPolicy(default="fp8")) == 8 * len(dit.blocks)
    kept = {name.rsplit(".", 2)[-2] for name, _ in dit.blocks.named_parameters() if name.endswith("weight")}
    gates = {"write_strength", "decay_gate", "output_gate"}
    assert kept == gates | {"query_norm", "key_norm", "depthwise"}
    assert isinstance(dit.embed, torch.nn.Linear)
    assert isinstance(dit.final, torch.nn.Linear)


def test_rules_name_layers_and_blocks_and_the_last_one_wins():
    rules = (
        PrecisionRule(group="feed_expand", precision="nvfp4", first=2),
        PrecisionRule(group="feed_expand", precision="bf16", first=3, stop=4),
        PrecisionRule(group="cross_out", precision="fp8"),
    )
    policy = PrecisionPolicy(rules=rules)
    dit = model()
    assert apply_precision(dit.blocks, policy) == 5
    assert [policy.of("feed_expand", block) for block in range(4)] == ["bf16", "bf16", "nvfp4", "bf16"]
    formats = {
        name: each.format for name, each in dit.blocks.named_modules() if isinstance(each, QuantizedLinear)
    }
    assert formats == {"2.feed_forward.expand": "nvfp4"} | {f"{i}.cross.project": "fp8" for i in range(4)}
    assert from_json(PrecisionPolicy, to_json(policy)) == policy


def test_a_later_change_of_dtype_leaves_the_bits_alone():
    layer = QuantizedLinear(torch.randn(8, 16), torch.randn(8), "fp8")
    x = torch.randn(3, 16)
    before = layer(x)
    layer.to(torch.bfloat16)
    assert (layer(x) - before).abs().max() < 0.02
    layer.to(torch.float32)
    bias = layer.bias
    layer.bias = None
    shifted = layer(x) + bias
    assert (shifted - before).abs().max() < 0.02


def test_a_rule_for_a_block_that_is_not_there_is_refused():
    rule = PrecisionRule(group="self_out", precision="fp8", first=9)
    with pytest.raises(ConfigError, match="covers none of the 4 blocks"):
        apply_precision(model().blocks, PrecisionPolicy(rules=(rule,)))
