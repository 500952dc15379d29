"""The full-size VAE has exactly the tensors of the released one, by name and by shape."""

import json
from math import prod
from pathlib import Path

import torch

from vivace.catalog.ltx2_vae import ltx2_vae_spec
from vivace.models.adapters.ltx2_vae import from_official, to_official
from vivace.models.ltx2_vae import Ltx2Vae

SHAPES = Path(__file__).parents[1] / "golden" / "ltx2_vae_shapes.json"


def test_names_shapes_and_total_are_the_official_ones():
    file = json.loads(SHAPES.read_text())
    official = {name: tuple(shape) for name, shape in file["tensors"].items()}
    assert len(official) == file["num_tensors"] == 184
    with torch.device("meta"):
        vae = Ltx2Vae(ltx2_vae_spec())
    ours = to_official(vae.state_dict())
    assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == official
    assert from_official(ours).keys() == vae.state_dict().keys()
    total = sum(prod(tuple(parameter.shape)) for parameter in vae.parameters())
    assert round(total / 1e6, 2) == file["num_parameters_millions"]


def test_strides_of_the_released_vae_at_the_size_it_is_used_with():
    grid = ltx2_vae_spec().grid
    assert (grid.temporal_stride, grid.spatial_stride) == (8, 32)
    assert grid.latent_size(704, 1280) == (22, 40)


def test_shapes_flow_through_the_whole_network_at_full_size():
    with torch.device("meta"):
        vae = Ltx2Vae(ltx2_vae_spec()).eval().requires_grad_(False)
        latent, state = vae.encode(torch.empty(1, 3, 1, 704, 1280), None)
        assert latent.shape == (1, 128, 1, 22, 40)
        latent, _ = vae.encode(torch.empty(1, 3, 8, 704, 1280), state)
        video, state = vae.decode(latent, None)
        assert video.shape == (1, 3, 1, 704, 1280)
        video, _ = vae.decode(latent, state)
        assert video.shape == (1, 3, 8, 704, 1280)
