"""Specs of the full-size SANA-Video text-to-video models; the weights are elsewhere."""

from vivace.layers.linear_attention import LinearSpec
from vivace.layers.positions import FixedPositions
from vivace.models.streaming_dit import DitSpec

NUM_BLOCKS = 20


def sana_video_480p_spec() -> DitSpec:
    """SANA-Video 2B at 480p: 16 latent channels of the Wan 2.1 VAE in patches of 2 x 2.

    Source: official configuration Sana_2000M_480px and the shapes of its checkpoint.
    """
    return _spec(latent_channels=16, patch_size=2)


def sana_video_720p_spec() -> DitSpec:
    """SANA-Video 2B at 720p: 128 latent channels of the LTX-2 VAE, one token a position.

    Source: official configuration Sana_2000M_720px_ltx2vae and the shapes of its checkpoint.
    """
    return _spec(latent_channels=128, patch_size=1)


def _spec(latent_channels: int, patch_size: int) -> DitSpec:
    return DitSpec(
        in_channels=latent_channels,
        out_channels=latent_channels,
        dim=2240,
        num_heads=20,
        mlp_ratio=3.0,
        text_dim=2304,
        mixers=(LinearSpec(),) * NUM_BLOCKS,
        patch_size=patch_size,
        positions=FixedPositions(),
    )
