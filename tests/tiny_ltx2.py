"""A tiny LTX-2 VAE for tests: the released structure, one block a stage, few channels."""

import torch

from vivace.models.ltx2_vae import GrowStageSpec, Ltx2Vae, Ltx2VaeSpec, ShrinkStageSpec

SPEC = Ltx2VaeSpec(
    latent_channels=8,
    encoder=(
        ShrinkStageSpec(num_blocks=1, out_channels=4, stride=(1, 2, 2)),
        ShrinkStageSpec(num_blocks=1, out_channels=8, stride=(2, 1, 1)),
        ShrinkStageSpec(num_blocks=1, out_channels=16, stride=(2, 2, 2)),
        ShrinkStageSpec(num_blocks=1, out_channels=32, stride=(2, 2, 2)),
    ),
    encoder_middle_blocks=1,
    decoder_channels=32,
    decoder_middle_blocks=1,
    decoder=tuple(GrowStageSpec(num_blocks=1, out_channels=channels) for channels in (16, 8, 4)),
)
# the same sizes in the words of diffusers' AutoencoderKLLTX2Video
SPEC_OF_DIFFUSERS = {
    "latent_channels": 8,
    "block_out_channels": (4, 8, 16, 32),
    "decoder_block_out_channels": (8, 16, 32),
    "layers_per_block": (1, 1, 1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1, 1),
    "decoder_causal": False,
    "temporal_compression_ratio": 8,
    "spatial_compression_ratio": 32,
}


def tiny_vae(seed: int = 0) -> Ltx2Vae:
    """A VAE with random weights and statistics, in evaluation mode."""
    torch.manual_seed(seed)
    vae = Ltx2Vae(SPEC).eval().requires_grad_(False)
    for name, parameter in vae.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(std=0.1)
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 1.5)
    return vae
