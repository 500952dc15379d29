"""The small text encoder: instructions to token features and sentence vectors; its training is elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from vivace.core.config import read_config, write_config
from vivace.core.errors import ConfigError, InputError, WeightsError

PAD_TOKEN = "[PAD]"
UNKNOWN_TOKEN = "[UNK]"
SUMMARY_TOKEN = "[SUM]"

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptEncoderSpec:
    """Sizes of a `PromptEncoder`.

    `num_tokens` is the most tokens of a prompt, the summary token included; the rest is cut off. `max_chars`
    is the longest prompt that is accepted. `sentence_dim` is the width of the teacher's sentence space.
    """

    vocab_size: int = 6000
    num_tokens: int = 32
    max_chars: int = 600
    embedding_dim: int = 128
    dim: int = 192
    num_layers: int = 4
    num_heads: int = 6
    ffn_dim: int = 512
    sentence_dim: int = 384

    def __post_init__(self) -> None:
        if self.num_tokens < 2 or self.num_layers < 1 or self.vocab_size < 4 or self.max_chars < 1:
            raise ConfigError(
                f"PromptEncoderSpec: got {self.num_tokens} tokens, {self.num_layers} layers, "
                f"{self.vocab_size} vocabulary entries and {self.max_chars} characters, expected at least "
                "2, 1, 4 and 1"
            )
        if self.dim % self.num_heads:
            raise ConfigError(
                f"PromptEncoderSpec: got dim {self.dim} and {self.num_heads} heads, expected a multiple"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFeatures:
    """What a model is conditioned on: `tokens` (zero where `mask` is False) and which of them are real.

    Token 0 is the summary of the whole prompt and always real.
    """

    tokens: Float[Tensor, "b m dim"]
    mask: Bool[Tensor, "b m"]


class PromptBlock(nn.Module):
    """A pre-norm transformer block over the tokens of one prompt."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_ffn = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, ffn_dim)
        self.contract = nn.Linear(ffn_dim, dim)

    def forward(
        self, x: Float[Tensor, "b m dim"], mask: Bool[Tensor, "b m"] | None
    ) -> Float[Tensor, "b m dim"]:
        """Mix the tokens that `mask` marks; None means that all are real."""
        q, k, v = rearrange(
            self.qkv(self.norm_attention(x)),
            "b m (three heads d) -> three b heads m d",
            three=3,
            heads=self.num_heads,
        )
        key_mask = None if mask is None else rearrange(mask, "b m -> b 1 1 m")
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)
        x = x + self.out(rearrange(mixed, "b heads m d -> b m (heads d)"))
        return x + self.contract(F.gelu(self.expand(self.norm_ffn(x))))


class PromptEncoder(nn.Module):
    """A transformer encoder with its own lower-case tokenizer, distilled from a sentence encoder.

    `encode` conditions an editor; `sentence` compares prompts. Both look at one prompt at a time, so that its
    features never depend on its neighbours.

    Raises:
        ConfigError: If the tokenizer does not fit the spec.

    Source: Reimers and Gurevych, Sentence-BERT, 2019 (the teacher's form); Lan et al., ALBERT, 2020, section
    3.1 (narrow embedding followed by a projection).
    """

    def __init__(self, spec: PromptEncoderSpec, tokenizer: Tokenizer) -> None:
        super().__init__()
        if tokenizer.get_vocab_size() != spec.vocab_size:
            raise ConfigError(
                f"got a tokenizer of {tokenizer.get_vocab_size()} entries, expected {spec.vocab_size}"
            )
        self.spec = spec
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(spec.num_tokens)
        self.pad_id, self.unknown_id, self.summary_id = (
            _special_id(tokenizer, name) for name in (PAD_TOKEN, UNKNOWN_TOKEN, SUMMARY_TOKEN)
        )
        self.embedding = nn.Embedding(spec.vocab_size, spec.embedding_dim)
        self.widen = nn.Linear(spec.embedding_dim, spec.dim)
        self.position = nn.Parameter(torch.zeros(spec.num_tokens, spec.dim))
        self.blocks = nn.ModuleList(
            PromptBlock(spec.dim, spec.num_heads, spec.ffn_dim) for _ in range(spec.num_layers)
        )
        self.norm = nn.LayerNorm(spec.dim)
        self.to_sentence = nn.Linear(spec.dim, spec.sentence_dim)
        nn.init.normal_(self.position, std=0.02)

    def forward(
        self, ids: Int64[Tensor, "b m"], mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m dim"]:
        """Token features of unit scale (layer-normed); rows where `mask` is False are zero.

        `ids` come from `tokenize` or `pad_ids`: the summary token first, at most `num_tokens` in all.
        """
        x = self.widen(self.embedding(ids)) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        return x if mask is None else x * mask[..., None].to(x.dtype)

    def tokenize(self, prompt: str) -> list[int]:
        """Ids of one prompt: the summary token, then up to `num_tokens - 1` word pieces; the rest is cut off.

        Raises:
            InputError: If the prompt is empty, longer than `max_chars`, or has no character known here.
        """
        if not prompt.strip():
            raise InputError("the prompt is empty; say in words what to change, like 'make it a snowy night'")
        if len(prompt) > self.spec.max_chars:
            raise InputError(
                f"the prompt has {len(prompt)} characters, expected at most {self.spec.max_chars}; shorten it"
            )
        ids: list[int] = self.tokenizer.encode(prompt).ids
        if all(index in (self.unknown_id, self.summary_id) for index in ids):
            raise InputError(
                f"the prompt {prompt[:40]!r} has no word that this model can read; write it in English"
            )
        return ids

    def pad_ids(self, rows: Sequence[list[int]]) -> tuple[Int64[Tensor, "b m"], Bool[Tensor, "b m"]]:
        """Ids of several prompts as one tensor, as wide as the longest, with the mask of real tokens."""
        device = self.position.device
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in rows]).to(device)
        lengths = torch.tensor([len(row) for row in rows]).to(device)
        return ids, torch.arange(longest, device=device) < lengths[:, None]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> PromptFeatures:
        """Features of each prompt, padded with zeros to `num_tokens`, on the model's device and in its dtype.

        Word pieces beyond `num_tokens - 1` (about 25 words) are ignored. No gradient flows.

        Raises:
            InputError: On a bad prompt (see `tokenize`) or none at all.
        """
        features = [self._features(prompt) for prompt in self._checked(prompts)]
        lengths = torch.tensor([x.shape[1] for x in features], device=self.position.device)
        tokens = torch.cat([F.pad(x, (0, 0, 0, self.spec.num_tokens - x.shape[1])) for x in features])
        mask = torch.arange(self.spec.num_tokens, device=lengths.device) < lengths[:, None]
        return PromptFeatures(tokens=tokens, mask=mask)

    @torch.no_grad()
    def sentence(self, prompts: Sequence[str]) -> Float[Tensor, "b 384"]:
        """Unit vectors in the teacher's sentence space; the dot product of two says how alike they mean.

        Raises:
            InputError: On a bad prompt (see `tokenize`) or none at all.
        """
        summaries = [self._features(prompt)[:, 0] for prompt in self._checked(prompts)]
        return torch.cat([F.normalize(self.to_sentence(summary), dim=-1) for summary in summaries])

    def save(self, folder: Path) -> None:
        """Write spec, tokenizer and fp16 weights; reads back with `load`."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            name: value.detach().half().cpu().contiguous() for name, value in self.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS_FILE)
        self.tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
        write_config(self.spec, folder / CONFIG_FILE)

    @classmethod
    def load(cls, folder: Path) -> "PromptEncoder":
        """An encoder in fp32 on the CPU, in eval mode, from what `save` wrote.

        Raises:
            ConfigError: If the spec is missing or does not fit.
            WeightsError: If a file is missing, or tensors are missing, unknown or of another shape.
        """
        spec = read_config(PromptEncoderSpec, folder / CONFIG_FILE)
        for name in (TOKENIZER_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise WeightsError(f"no {name} in {folder}; expected the folder of a saved prompt encoder")
        model = cls(spec, Tokenizer.from_file(str(folder / TOKENIZER_FILE)))
        weights = {name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()}
        try:
            model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{folder / WEIGHTS_FILE} does not fit its {CONFIG_FILE}: {error}") from None
        return model.eval()

    def _features(self, prompt: str) -> Float[Tensor, "1 m dim"]:
        # One prompt without padding: the result is bit-equal whatever else is in the batch.
        return self(torch.tensor([self.tokenize(prompt)], device=self.position.device))

    def _checked(self, prompts: Sequence[str]) -> Sequence[str]:
        if isinstance(prompts, str) or not prompts:
            raise InputError(f"got {prompts!r}, expected a list with at least one prompt")
        return prompts


def _special_id(tokenizer: Tokenizer, name: str) -> int:
    index = tokenizer.token_to_id(name)
    if index is None:
        raise ConfigError(
            f"the tokenizer has no entry {name!r}; expected one from the tiny prompt encoder recipe"
        )
    return index
