"""A corpus of forty sentences with an invented teacher."""

import torch
from torch.nn import functional as F

from vivace.models.prompt_encoder import PromptEncoderSpec
from vivace.recipes.teacher_corpus import TeacherCorpus, train_tokenizer

THINGS = ("car", "house", "street", "cloud", "river", "window", "dancer", "forest")
COLORS = ("red", "green", "blue", "golden", "purple")
SENTENCES = tuple(f"make the {thing} {color}" for thing in THINGS for color in COLORS)
SPEC = PromptEncoderSpec(
    vocab_size=120, embedding_dim=32, dim=32, num_layers=1, num_heads=2, ffn_dim=32, num_tokens=12
)


def toy_corpus() -> TeacherCorpus:
    generator = torch.Generator().manual_seed(0)
    tokenizer = train_tokenizer(SENTENCES, SPEC.vocab_size, ["watercolour"])
    vectors = F.normalize(torch.randn(len(SENTENCES), 384, generator=generator), dim=-1)
    entries = torch.randn(SPEC.vocab_size, 384, generator=generator)
    return TeacherCorpus.build(SENTENCES, vectors, tokenizer, entries, SPEC)
