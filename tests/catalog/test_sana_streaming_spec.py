"""The full-size specs have exactly the tensors of the official checkpoints, by name and by shape."""

import json
from math import prod
from pathlib import Path

import pytest
import torch

from vivace.catalog.entries import SANA_STREAMING, SANA_STREAMING_BIDIRECTIONAL, HubWeights
from vivace.catalog.sana_streaming import sana_streaming_bidirectional_spec, sana_streaming_spec
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.positions import FixedPositions, RollingPositions
from vivace.models.adapters.sana_streaming import DROPPED, to_official
from vivace.models.streaming_dit import DitSpec, StreamingDit

GOLDEN = Path(__file__).parents[1] / "golden"
NUM_SOFTMAX_BLOCKS = 5
WIDTH = 2240

VARIANTS = [
    ("streaming", sana_streaming_spec(), SANA_STREAMING),
    ("bidirectional", sana_streaming_bidirectional_spec(), SANA_STREAMING_BIDIRECTIONAL),
]


def official_shapes(variant: str) -> tuple[dict[str, tuple[int, ...]], float]:
    file = json.loads((GOLDEN / f"sana_v2v_{variant}_shapes.json").read_text())
    shapes = dict(file["top"])
    for index in range(file["num_blocks"]):
        kind = "softmax_block" if index in file["softmax_blocks"] else "gdn_block"
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in file[kind].items()}
    assert len(shapes) == file["num_tensors"]
    return {name: tuple(shape) for name, shape in shapes.items()}, file["num_parameters_millions"]


def mapped_shapes(spec: DitSpec, variant: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        dit = StreamingDit(spec)
    return {name: tuple(tensor.shape) for name, tensor in to_official(dit.state_dict(), variant).items()}


@pytest.mark.parametrize(("variant", "spec", "entry"), VARIANTS, ids=["streaming", "bidirectional"])
def test_names_shapes_and_totals_are_the_official_ones(variant, spec, entry):
    official, num_millions = official_shapes(variant)
    kept = {name: shape for name, shape in official.items() if not any(p.match(name) for p in DROPPED)}
    assert official.keys() - kept.keys() == {"pos_embed", "y_embedder.y_embedding"}
    ours = mapped_shapes(spec, variant)
    assert ours == kept
    total = sum(prod(shape) for shape in ours.values())
    assert round(total / 1e6, 2) == num_millions
    assert isinstance(entry.weights, HubWeights)
    assert entry.weights.num_parameters == total


def test_the_streaming_file_is_larger_by_side_taps_that_nothing_reads():
    with torch.device("meta"):
        dit = StreamingDit(sana_streaming_spec())
    used = sum(parameter.numel() for parameter in dit.parameters())
    total = sum(prod(shape) for shape in mapped_shapes(sana_streaming_spec(), "streaming").values())
    # softmax blocks store queries and keys as convolutions of 3 taps, of which the middle one counts
    assert total - used == NUM_SOFTMAX_BLOCKS * 2 * 2 * WIDTH**2
    assert round(used / 1e6, 2) == 2159.18


def test_softmax_blocks_stand_where_the_official_code_has_them():
    spec = sana_streaming_spec()
    places = [i for i, mixer in enumerate(spec.mixers) if isinstance(mixer, SoftmaxSpec)]
    assert places == [3, 7, 11, 15, 19]
    softmax = spec.mixers[3]
    assert isinstance(softmax, SoftmaxSpec)
    assert (softmax.num_sink_frames, softmax.window_frames) == (3, 3)


def test_an_endless_stream_stays_within_the_distances_of_training_and_a_fixed_one_is_absolute():
    endless, fixed = sana_streaming_spec(), sana_streaming_spec(is_endless=False)
    assert isinstance(endless.positions, RollingPositions)
    assert fixed.positions == FixedPositions(num_frames=1024)
    caps = {m.max_distance_frames for m in endless.mixers if isinstance(m, SoftmaxSpec)}
    # the third frame of a chunk sees the capped sink from 121 frames away, the most in 122 frames
    assert caps == {119}
    assert {m.max_distance_frames for m in fixed.mixers if isinstance(m, SoftmaxSpec)} == {None}
