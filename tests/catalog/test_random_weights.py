"""Random networks are quick to make and behave like trained ones as far as speed goes."""

import pytest
import torch

from tiny_ltx2 import SPEC
from tiny_sana import DIT_SPEC
from vivace.catalog.random_weights import random_dit, random_ltx2_vae

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_layer_does_something_and_everything_stays_finite(dtype):
    dit, vae = random_dit(DIT_SPEC, CPU, dtype), random_ltx2_vae(SPEC, CPU, dtype)
    for network in (dit, vae):
        assert {tensor.dtype for tensor in network.state_dict().values()} == {dtype}
        assert not network.training
        for name, tensor in network.state_dict().items():
            assert tensor.isfinite().all(), name
            if tensor.ndim > 1:
                assert tensor.float().std() > 0, name
    latent, _ = vae.encode(torch.rand(1, 3, 17, 64, 64).to(dtype) * 2 - 1, None)
    text = dit.embed_text(torch.randn(1, 5, DIT_SPEC.text_dim).to(dtype), torch.ones(1, 5, dtype=torch.bool))
    velocity, state = dit(torch.cat([latent, latent], 1), torch.ones(1, 1), text, None, write=True)
    assert state is not None
    velocity, _ = dit(torch.cat([latent, latent], 1), torch.ones(1, 1), text, state, write=False)
    video, _ = vae.decode(velocity, None)
    for result in (latent, velocity, video):
        assert result.isfinite().all()
        assert result.float().std() > 1e-3


def test_a_seed_gives_the_same_weights_and_another_one_others():
    first, same, other = (random_dit(DIT_SPEC, CPU, torch.float32, seed) for seed in (1, 1, 2))
    assert torch.equal(first.embed.weight, same.embed.weight)
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_nothing_is_made_in_another_precision_or_place_first(monkeypatch):
    """A full-size model must not take twice its memory while it is made."""
    made = []
    empty_like = torch.empty_like

    def seen(tensor: torch.Tensor, **options: object) -> torch.Tensor:
        made.append((tensor.is_meta, tensor.dtype))
        return empty_like(tensor, **options)

    monkeypatch.setattr(torch, "empty_like", seen)
    dit = random_dit(DIT_SPEC, CPU, torch.bfloat16)
    assert made == [(True, torch.bfloat16)] * len(dit.state_dict())
