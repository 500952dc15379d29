"""Specs of the full-size SANA-Streaming editors; the weights are elsewhere."""

from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.layers.positions import FixedPositions, Positions, RollingPositions
from vivace.models.streaming_dit import DitSpec, hybrid_mixers

NUM_BLOCKS = 20
NUM_SOFTMAX_BLOCKS = 5
LATENT_CHANNELS = 128
FRAMES_PER_CHUNK = 3
# latent frames of the longest clips in training (969 raw frames)
TRAINED_FRAMES = 122


def sana_streaming_spec(*, is_endless: bool = True) -> DitSpec:
    """The autoregressive editor: sink and window of one chunk each.

    With `is_endless` positions roll, and the sink never appears further away than in training; below 122
    latent frames, nothing differs from the official absolute positions, which end at 1024.

    Source: official configuration sana_streaming_2b_720p (depth 20, width 2240, 20 heads, softmax blocks 3,
    7, 11, 15 and 19, two cached chunks of which one is the sink) and the shapes of its checkpoint.
    """
    # the last frame of a chunk sees the sink from further away than its first
    cap = TRAINED_FRAMES - FRAMES_PER_CHUNK if is_endless else None
    softmax = SoftmaxSpec(
        num_sink_frames=FRAMES_PER_CHUNK, window_frames=FRAMES_PER_CHUNK, max_distance_frames=cap
    )
    return _spec(softmax, RollingPositions() if is_endless else FixedPositions())


def sana_streaming_bidirectional_spec() -> DitSpec:
    """The editor of whole clips: one chunk, so nothing is ever evicted.

    Source: official configuration sana_streaming_bidirectional_2b_720p.
    """
    return _spec(SoftmaxSpec(num_sink_frames=0, window_frames=None), FixedPositions())


def _spec(softmax: SoftmaxSpec, positions: Positions) -> DitSpec:
    return DitSpec(
        in_channels=2 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        dim=2240,
        num_heads=20,
        mlp_ratio=3.0,
        text_dim=2304,
        mixers=hybrid_mixers(NUM_BLOCKS, NUM_SOFTMAX_BLOCKS, GdnSpec(), softmax),
        positions=positions,
    )
