"""Sentences with a teacher's vectors and a tokenizer trained on them; knows nothing of the student."""

import gzip
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64, UInt8
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional as F

from vivace.core.errors import InputError
from vivace.models.prompt_encoder import PAD_TOKEN, SUMMARY_TOKEN, UNKNOWN_TOKEN, PromptEncoderSpec

SENTENCES_FILE = "sentences.txt.gz"
VECTORS_FILE = "vectors.safetensors"
TOKENIZER_FILE = "tokenizer.json"
NUM_AXES = 256
MAX_CODE = 15
CODE_WIDTH = 0.335  # in deviations: the best uniform 4-bit code of a normal variable (Max, 1960, table II)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherCorpus:
    """Sentences with the teacher's unit vectors, and word vectors for the student to start from.

    A vector is kept in 4 bits for each of its `NUM_AXES` strongest principal axes (cosine to the original
    0.98), two axes a byte; `width` is what one step of a code means on an axis.
    """

    sentences: tuple[str, ...]
    tokenizer: Tokenizer
    codes: UInt8[Tensor, "n bytes"]
    width: Float[Tensor, "axes"]
    axes: Float[Tensor, "axes dim"]
    center: Float[Tensor, "dim"]
    vocabulary: Float[Tensor, "entries embedding"]

    @classmethod
    def build(
        cls,
        sentences: Sequence[str],
        vectors: Float[Tensor, "n dim"],
        tokenizer: Tokenizer,
        entries: Float[Tensor, "entries dim"],
        spec: PromptEncoderSpec,
    ) -> "TeacherCorpus":
        """A corpus from the teacher's vectors of all sentences and of all tokenizer entries."""
        center, axes = _principal_axes(vectors, NUM_AXES)
        turned = (vectors - center) @ axes.T
        width = turned.std(0).clamp(min=1e-6) * CODE_WIDTH
        codes = (turned / width + MAX_CODE / 2).round().clamp(0, MAX_CODE).to(torch.uint8)
        entries_center, entries_axes = _principal_axes(entries, spec.embedding_dim)
        return cls(
            sentences=tuple(sentences),
            tokenizer=tokenizer,
            codes=codes[:, 0::2] | (codes[:, 1::2] << 4),
            width=width,
            axes=axes,
            center=center,
            vocabulary=(entries - entries_center) @ entries_axes.T,
        )

    def vectors(self, rows: Int64[Tensor, "b"], device: torch.device) -> Float[Tensor, "b dim"]:
        """The teacher's unit vectors of some sentences."""
        packed = self.codes[rows].to(device)
        codes = torch.stack([packed & MAX_CODE, packed >> 4], dim=-1).flatten(1).float()
        turned = (codes - MAX_CODE / 2) * self.width.to(device)
        return F.normalize(turned @ self.axes.to(device) + self.center.to(device), dim=-1)

    def save(self, folder: Path) -> None:
        """Write the corpus; reads back with `load`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(self.sentences).encode()
        (folder / SENTENCES_FILE).write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
        self.tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
        floats = {
            "width": self.width,
            "axes": self.axes,
            "center": self.center,
            "vocabulary": self.vocabulary,
        }
        halves = {name: value.half().contiguous() for name, value in floats.items()}
        save_file({"codes": self.codes, **halves}, folder / VECTORS_FILE)

    @classmethod
    def load(cls, folder: Path) -> "TeacherCorpus":
        """Read a corpus.

        Raises:
            InputError: If the folder holds none, or sentences and vectors differ in number.
        """
        for name in (SENTENCES_FILE, TOKENIZER_FILE, VECTORS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"no {name} in {folder}; write it with --teacher first")
        sentences = tuple(gzip.decompress((folder / SENTENCES_FILE).read_bytes()).decode().split("\n"))
        tensors = load_file(folder / VECTORS_FILE)
        codes = tensors.pop("codes")
        if len(sentences) != len(codes):
            raise InputError(
                f"{folder} has {len(sentences)} sentences and {len(codes)} vectors; prepare it again"
            )
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        floats = {name: value.float() for name, value in tensors.items()}
        return cls(sentences=sentences, tokenizer=tokenizer, codes=codes, **floats)


def _principal_axes(
    vectors: Float[Tensor, "n dim"], num_axes: int
) -> tuple[Float[Tensor, "dim"], Float[Tensor, "axes dim"]]:
    center = vectors.mean(0)
    _, directions = torch.linalg.eigh((vectors - center).T @ (vectors - center))
    return center, directions.T.flip(0)[:num_axes].contiguous()


def train_tokenizer(sentences: Sequence[str], vocab_size: int, whole_words: Sequence[str]) -> Tokenizer:
    """A lower-case word-piece tokenizer of `vocab_size` entries that puts the summary token first.

    `whole_words` and then the commonest words are never split; word pieces fill the rest.
    """
    counts = Counter(word for text in sentences for word in re.findall(r"[a-z]+", text.lower()))
    pieces = _train_word_pieces(sentences, vocab_size * 9 // 10)
    vocabulary: dict[str, int] = pieces.get_vocab()
    for word in (*whole_words, *(word for word, _ in counts.most_common())):
        if len(vocabulary) < vocab_size:
            vocabulary.setdefault(word, len(vocabulary))
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN_TOKEN, max_input_chars_per_word=60))
    tokenizer.add_special_tokens([PAD_TOKEN, UNKNOWN_TOKEN, SUMMARY_TOKEN])
    tokenizer.normalizer = pieces.normalizer
    tokenizer.pre_tokenizer = pieces.pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SUMMARY_TOKEN} $A", special_tokens=[(SUMMARY_TOKEN, vocabulary[SUMMARY_TOKEN])]
    )
    return tokenizer


def _train_word_pieces(sentences: Sequence[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN_TOKEN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, UNKNOWN_TOKEN, SUMMARY_TOKEN],
        initial_alphabet=list(string.ascii_lowercase + string.digits + string.punctuation),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return tokenizer


@torch.inference_mode()
def teacher_vectors(teacher: Path, sentences: Sequence[str]) -> Float[Tensor, "n dim"]:
    """Unit vectors of a mean-pooling sentence encoder, from a folder that transformers can read."""
    # an extra: pip install vivace[distil]
    from transformers import AutoModel, AutoTokenizer  # pyright: ignore[reportMissingImports]

    tokenizer = AutoTokenizer.from_pretrained(teacher, local_files_only=True)
    model = AutoModel.from_pretrained(teacher, local_files_only=True).eval().to(torch.bfloat16)
    order = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
    vectors: list[Tensor] = []
    for start in range(0, len(order), 128):
        texts = [sentences[row] for row in order[start : start + 128]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=128)
        hidden = model(**batch).last_hidden_state.float()
        weight = batch["attention_mask"][..., None].float()
        vectors.append(F.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1))
    return torch.cat(vectors)[torch.tensor(order).argsort()]


def read_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer of a saved encoder, so that its weights can learn from a new corpus.

    Raises:
        InputError: If the file is missing or no tokenizer, or has another number of entries.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; expected the {TOKENIZER_FILE} of a saved prompt encoder")
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except ValueError as error:
        raise InputError(
            f"{path} is not a tokenizer: {error}; give the {TOKENIZER_FILE} of an encoder"
        ) from None
    if tokenizer.get_vocab_size() != vocab_size:
        raise InputError(
            f"{path} has {tokenizer.get_vocab_size()} entries, expected {vocab_size}; "
            "give the tokenizer of an encoder of this size"
        )
    return tokenizer


def prepare(
    sentences: Sequence[str], tokenizer: Tokenizer, teacher: Path, spec: PromptEncoderSpec
) -> TeacherCorpus:
    """A corpus for `train`: the teacher reads every sentence and tokenizer entry (CPU, minutes)."""
    entries = [entry for entry, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    entry_vectors = teacher_vectors(teacher, [entry.removeprefix("##") for entry in entries])
    return TeacherCorpus.build(sentences, teacher_vectors(teacher, sentences), tokenizer, entry_vectors, spec)
