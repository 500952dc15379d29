"""A model folder with random weights at the smallest useful sizes, for tests of what is built on a model."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from vivace.catalog.model_folder import DEFAULTS_NAME, DIT_PREFIX, DIT_SPEC_NAME, EditorDefaults
from vivace.core.config import write_config
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.prompt_encoder import (
    PAD_TOKEN,
    SUMMARY_TOKEN,
    UNKNOWN_TOKEN,
    PromptEncoder,
    PromptEncoderSpec,
)
from vivace.models.shards import export_weights
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.models.video_vae import VaeStageSpec, VideoVae, VideoVaeSpec

LATENT_CHANNELS = 6
TEXT_DIM = 12
NATIVE_WIDTH_PX, NATIVE_HEIGHT_PX = 64, 48


def write_toy_model(folder: Path) -> Path:
    """Write `dit`, `video_vae`, `prompt_encoder` and `editor.json`; the weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _vae().save(folder / "video_vae")
        _prompt_encoder().save(folder / "prompt_encoder")
        dit = _dit()
    export_weights(dit, folder / "dit" / DIT_PREFIX, "bf16")
    write_config(dit.spec, folder / "dit" / DIT_SPEC_NAME)
    defaults = EditorDefaults(
        native_width_px=NATIVE_WIDTH_PX,
        native_height_px=NATIVE_HEIGHT_PX,
        falling_noise=(),
        has_still_noise=False,
    )
    write_config(defaults, folder / DEFAULTS_NAME)
    return folder


def _vae() -> VideoVae:
    def stage(width: int) -> VaeStageSpec:
        return VaeStageSpec(width=width, num_blocks=1, has_memory=True)

    spec = VideoVaeSpec(
        latent_channels=LATENT_CHANNELS,
        encoder=(stage(8), stage(8), stage(8)),
        decoder=(stage(8), stage(8), stage(8), stage(4)),
    )
    return VideoVae(spec)


def _dit() -> StreamingDit:
    softmax = SoftmaxSpec(num_sink_frames=1, window_frames=2, max_distance_frames=4)
    spec = DitSpec(
        in_channels=2 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        dim=24,
        num_heads=2,
        mlp_ratio=2.0,
        text_dim=TEXT_DIM,
        mixers=hybrid_mixers(2, 1, GdnSpec(), softmax),
    )
    dit = StreamingDit(spec)
    # The last layer starts at zero, and text at a hundredth; a test must see that both matter.
    torch.nn.init.normal_(dit.final.weight, std=0.3)
    torch.nn.init.ones_(dit.text_norm.weight)
    return dit


def _prompt_encoder() -> PromptEncoder:
    letters = [PAD_TOKEN, UNKNOWN_TOKEN, SUMMARY_TOKEN, *"abcdefghijklmnopqrstuvwxyz"]
    pieces = [*letters, *(f"##{letter}" for letter in letters[3:])]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SUMMARY_TOKEN} $A", special_tokens=[(SUMMARY_TOKEN, vocabulary[SUMMARY_TOKEN])]
    )
    spec = PromptEncoderSpec(
        vocab_size=len(vocabulary),
        num_tokens=32,
        max_chars=100,
        embedding_dim=8,
        dim=TEXT_DIM,
        num_layers=1,
        num_heads=2,
        ffn_dim=16,
    )
    return PromptEncoder(spec, tokenizer)
