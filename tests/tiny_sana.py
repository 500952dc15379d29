"""SANA-Streaming at toy size in the layout of its official repositories, with random weights."""

import dataclasses
import io
import json
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from fake_hub import Repository
from tiny_ltx2 import SPEC as VAE_SPEC
from tiny_ltx2 import tiny_vae
from vivace.catalog.entries import SANA_STREAMING, HubWeights, ModelEntry
from vivace.catalog.sana_prompts import sana_streaming_prompts
from vivace.layers.attention import SoftmaxSpec
from vivace.layers.gdn import GdnSpec
from vivace.models.adapters import ltx2_vae, sana_streaming
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers

TEXT_DIM = 32
DIT_SPEC = DitSpec(
    in_channels=16,
    out_channels=8,
    dim=48,
    num_heads=2,
    mlp_ratio=2.0,
    text_dim=TEXT_DIM,
    mixers=hybrid_mixers(
        2, 1, GdnSpec(), SoftmaxSpec(num_sink_frames=3, window_frames=3, max_distance_frames=119)
    ),
)
DIT_FILE, VAE_FOLDER = "dit/sana_streaming_ar.pth", "ltx2_causal_vae_0516"


def tiny_entry() -> ModelEntry:
    """`sana-streaming` of the catalogue with the toy specs and nothing else changed."""
    weights = SANA_STREAMING.weights
    assert isinstance(weights, HubWeights)
    defaults = dataclasses.replace(weights.defaults, native_width_px=64, native_height_px=64)
    tiny = dataclasses.replace(weights, dit_spec=DIT_SPEC, vae_spec=VAE_SPEC, defaults=defaults)
    return dataclasses.replace(SANA_STREAMING, weights=tiny)


def tiny_dit() -> StreamingDit:
    torch.manual_seed(5)
    dit = StreamingDit(DIT_SPEC).eval().requires_grad_(False)
    for name, parameter in dit.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.15)
        elif not name.endswith("norm.weight"):
            parameter.normal_(std=0.3)
    torch.nn.init.ones_(dit.text_norm.weight)
    return dit


def official_dit() -> dict[str, torch.Tensor]:
    """The state dict as released, with the tensors that enter no computation."""
    unused = {"pos_embed": torch.zeros(1, 4, 48), "y_embedder.y_embedding": torch.zeros(300, TEXT_DIM)}
    return {**sana_streaming.to_official(tiny_dit().state_dict(), "streaming"), **unused}


def as_pth(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def sana_repositories(gemma: Path) -> dict[str, Repository]:
    """What the hub holds; `gemma` is a folder written by `write_gemma`."""
    vae = {
        name: tensor.contiguous() for name, tensor in ltx2_vae.to_official(tiny_vae(3).state_dict()).items()
    }
    files = {
        "README.md": b"card",
        DIT_FILE: as_pth({"state_dict": official_dit(), "epoch": 3}),
        f"{VAE_FOLDER}/config.json": b"{}",
        f"{VAE_FOLDER}/diffusion_pytorch_model.safetensors": save(vae),
        "source/clip.mp4": b"not wanted",
    }
    text = {path.name: path.read_bytes() for path in gemma.iterdir()}
    return {
        "Efficient-Large-Model/SANA-Streaming": Repository(files, licence="apache-2.0"),
        "Efficient-Large-Model/gemma-2-2b-it": Repository({**text, "README.md": b"card"}, licence="gemma"),
    }


def write_gemma(folder: Path) -> Path:
    """A random Gemma 2 with language head and a word tokenizer, as transformers saves them."""
    from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

    tokenizer = _tokenizer()
    config = Gemma2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=TEXT_DIM,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=1024,
        bos_token_id=1,
        pad_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(7)
    Gemma2ForCausalLM(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )
    fast.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gemma2"
    return folder


def _tokenizer() -> Tokenizer:
    """One token a word of the instruction, a letter otherwise; every text begins with <bos>."""
    words = sorted(set(" ".join(sana_streaming_prompts().instruction).split()))
    pieces = ["<pad>", "<bos>", "<eos>", "<unk>", *words, *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace("\n", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return tokenizer
