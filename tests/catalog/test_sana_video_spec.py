"""The full-size SANA-Video specs have exactly the tensors of the official checkpoints."""

import json
from math import prod
from pathlib import Path

import pytest
import torch

from vivace.catalog.sana_video import sana_video_480p_spec, sana_video_720p_spec
from vivace.models.adapters.sana_streaming import DROPPED
from vivace.models.adapters.sana_video import to_official
from vivace.models.streaming_dit import DitSpec, StreamingDit

SHAPES = Path(__file__).parents[1] / "golden" / "sana_video_shapes.json"
SPECS = {"480p": sana_video_480p_spec(), "720p": sana_video_720p_spec()}


@pytest.mark.parametrize("size", SPECS)
def test_names_shapes_and_totals_are_the_official_ones(size):
    file = json.loads(SHAPES.read_text())
    spec: DitSpec = SPECS[size]
    official = dict(file["top"][size])
    for index in range(file["num_blocks"]):
        official |= {f"blocks.{index}.{name}": shape for name, shape in file["block"].items()}
    assert len(official) == file["num_tensors"]
    kept = {n: tuple(s) for n, s in official.items() if not any(pattern.match(n) for pattern in DROPPED)}
    assert official.keys() - kept.keys() == {"pos_embed", "y_embedder.y_embedding"}
    with torch.device("meta"):
        dit = StreamingDit(spec)
    ours = {n: tuple(t.shape) for n, t in to_official(dit.state_dict(), spec.patch_size).items()}
    assert ours == kept
    total = sum(prod(shape) for shape in ours.values())
    assert round(total / 1e6, 2) == file["num_parameters_millions"][size]
