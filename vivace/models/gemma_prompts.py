"""Instructions to features of Gemma 2, the text encoder of the SANA models; runs beside the hot path."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vivace.core.errors import ConfigError, InputError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPEC_NAME = "gemma_prompts.json"
NUM_KEPT = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class GemmaPromptSpec:
    """How words become the tokens that a model was trained with.

    Attributes:
        instruction: Lines in front of every instruction, joined by line ends; empty for none.
        suffix: What follows every instruction.
        num_tokens: Features that are kept: the first token's and the last `num_tokens - 1`.
        max_chars: Longest instruction that is accepted.
    """

    instruction: tuple[str, ...] = ()
    suffix: str = ""
    num_tokens: int = 300
    max_chars: int = 4000

    def __post_init__(self) -> None:
        if self.num_tokens < 3 or self.max_chars < 1:
            raise ConfigError(
                f"GemmaPromptSpec: got {self.num_tokens} tokens and {self.max_chars} characters, expected at "
                "least 3 and 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GemmaFeatures:
    """Last hidden states on the CPU, and which of them belong to words; the others mean nothing."""

    tokens: Float[Tensor, "b m c"]
    mask: Bool[Tensor, "b m"]


class GemmaPrompts:
    """Encodes instructions on a thread of its own, remembers the newest, and can rest on the CPU.

    Args:
        model: The decoder without its language head.
        tokenizer: Its tokenizer; `encode` must begin with a start token.
        spec: What surrounds the words.
        device: Where the model computes.
        stays: Whether it stays there. Otherwise its weights rest in main memory and visit the device for each
            burst of instructions.

    Source: official SANA-Streaming inference (text encoding of prompt and negative prompt).
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        spec: GemmaPromptSpec,
        *,
        device: torch.device,
        stays: bool = True,
    ) -> None:
        self.spec = spec
        self.device = device
        self.stays = stays
        self.dim: int = model.config.hidden_size
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        # what lies behind the words must not push them out of the last tokens
        tokenizer.padding_side = "right"
        self._prefix = "\n".join(spec.instruction)
        self._kept: OrderedDict[tuple[str, bool], Future[GemmaFeatures]] = OrderedDict()
        self._lock = Lock()
        self._num_waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gemma")
        self._visit: _Visit | None = None
        if stays:
            self._model.to(device)  # pyright: ignore[reportArgumentType] - a decorated method

    @classmethod
    def load(
        cls, folder: Path, spec: GemmaPromptSpec, *, device: torch.device, dtype: torch.dtype, stays: bool
    ) -> "GemmaPrompts":
        """The encoder whose transformers files lie in `folder`; never asks the network.

        Raises:
            InputError: If transformers is not installed.
            WeightsError: If the files are missing or damaged.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError:
            raise InputError(
                "this model reads instructions with the package transformers, which is not installed; "
                "install it with: pip install 'vivace[sana]'"
            ) from None
        if not (folder / "config.json").is_file():
            raise WeightsError(f"there is no text encoder in {folder}; pull the model again")
        try:
            with _no_bars():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = AutoModel.from_pretrained(
                    folder, dtype=dtype, local_files_only=True, use_safetensors=True
                )
        except Exception as error:
            # transformers raises many kinds for files that are cut off or missing
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError(
                f"the text encoder in {folder} cannot be read ({reason}); pull the model again"
            ) from error
        return cls(model, tokenizer, spec, device=device, stays=stays)

    def submit(self, words: str, *, instructed: bool = True) -> Future[GemmaFeatures]:
        """Begin to encode one instruction; what was encoded lately is there at once.

        Args:
            words: The instruction.
            instructed: False leaves instruction lines and suffix out, as for a negative prompt, which may be
                empty.

        Raises:
            InputError: If the instruction is empty or too long.
        """
        words = words.strip()
        if instructed and not words:
            raise InputError("the prompt is empty; say in words what to change, like 'make it a snowy night'")
        if len(words) > self.spec.max_chars:
            raise InputError(
                f"the prompt has {len(words)} characters, expected at most {self.spec.max_chars}; shorten it"
            )
        key = words, instructed
        with self._lock:
            known = self._kept.get(key)
            if known is not None and not (known.done() and known.exception() is not None):
                self._kept.move_to_end(key)
                return known
            self._num_waiting += 1
            future = self._thread.submit(self._run, words, instructed)
            self._kept[key] = future
            while len(self._kept) > NUM_KEPT:
                self._kept.popitem(last=False)
        return future

    def encode(self, prompts: Sequence[str]) -> GemmaFeatures:
        """Features of each instruction; waits for them.

        Raises:
            InputError: If an instruction is empty or too long, or the device has no room for the encoder.
        """
        found = [future.result() for future in [self.submit(prompt) for prompt in prompts]]
        return GemmaFeatures(
            tokens=torch.cat([each.tokens for each in found]), mask=torch.cat([each.mask for each in found])
        )

    def close(self) -> None:
        """Encode no more; what was asked for is finished first."""
        self._thread.shutdown()

    def _run(self, words: str, instructed: bool) -> GemmaFeatures:
        try:
            if not self.stays and self._visit is None:
                self._visit = _Visit(self._model, self.device)
            return self._features(words, instructed)
        except torch.cuda.OutOfMemoryError:
            raise InputError(
                f"{self.device} has no room for the text encoder; close other programs that use it, or make "
                "the picture smaller"
            ) from None
        finally:
            with self._lock:
                self._num_waiting -= 1
                is_last = self._num_waiting == 0
            if is_last and self._visit is not None:
                self._visit.end()
                self._visit = None

    @torch.inference_mode()
    def _features(self, words: str, instructed: bool) -> GemmaFeatures:
        num_tokens = self.spec.num_tokens
        text, max_length = words, num_tokens
        if instructed:
            text = self._prefix + words + self.spec.suffix
            # so the start token, the last one of the prefix and 298 of the words are kept
            max_length = len(self._tokenizer.encode(self._prefix)) + num_tokens - 2
        given = self._tokenizer(
            [text], max_length=max_length, padding="max_length", truncation=True, return_tensors="pt"
        )
        # a stream of its own: the hot path is not made to wait
        stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            hidden = self._model(
                input_ids=given["input_ids"].to(self.device),
                attention_mask=given["attention_mask"].to(self.device),
                use_cache=False,
            ).last_hidden_state
            chosen = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1 - num_tokens, 0)])
            tokens = hidden[:, chosen.to(hidden.device)].cpu()
        return GemmaFeatures(tokens=tokens, mask=given["attention_mask"][:, chosen].bool())


class _Visit:
    """Weights of a model on another device until `end`, without a copy back: they do not change."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._resting = [(tensor, tensor.data) for tensor in [*model.parameters(), *model.buffers()]]
        try:
            for tensor, resting in self._resting:
                tensor.data = resting.to(device)
        except torch.cuda.OutOfMemoryError:
            self.end()
            raise

    def end(self) -> None:
        for tensor, resting in self._resting:
            tensor.data = resting


@contextmanager
def _no_bars() -> Iterator[None]:
    from transformers.utils import logging

    was_active = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_active:
            logging.enable_progress_bar()
