"""What a full-size model needs is told before memory runs out."""

import re
from types import SimpleNamespace

import pytest
import torch

from tiny_ltx2 import tiny_vae
from tiny_sana import DIT_SPEC, tiny_dit, tiny_entry
from vivace.catalog import needs
from vivace.catalog.editor import Editor
from vivace.catalog.entries import SANA_STREAMING, HubWeights
from vivace.catalog.model_folder import EditorDefaults
from vivace.catalog.needs import (
    StreamNeeds,
    check_gpu_room,
    check_stream_room,
    stream_needs,
    tflop_per_second,
    warn_of_cpu,
    weight_bytes,
)
from vivace.core.errors import InputError
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.models.streaming_dit import StreamingDit
from vivace.state.tree import tree_tensors

GPU = torch.device("cuda:0")
BF16 = torch.bfloat16
NEEDS = StreamNeeds(
    state_bytes=1_000_000_000,
    next_state_bytes=1_000_000_000,
    work_bytes=2_000_000_000,
    tflop_per_chunk=100.0,
    raw_frames_per_chunk=24,
)


def full_size() -> tuple[HubWeights, Ltx2Vae]:
    weights = SANA_STREAMING.weights
    assert isinstance(weights, HubWeights)
    with torch.device("meta"):
        return weights, Ltx2Vae(weights.vae_spec)


def gpu_with(
    monkeypatch: pytest.MonkeyPatch, free_gb: float, total_gb: float = 80.0, idle_gb: float = 0
) -> None:
    free = int(free_gb * 1e9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, int(total_gb * 1e9)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: int(idle_gb * 1e9))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)


def test_weights_are_counted_in_the_precision_they_are_built_in():
    dit = tiny_dit()
    numbers = sum(parameter.numel() for parameter in dit.parameters())
    assert weight_bytes(dit, torch.float32) == 4 * numbers
    assert weight_bytes(dit, BF16) == 2 * numbers


def test_memories_are_those_of_a_real_stream():
    """Against the states of tiny networks that ran."""
    entry = tiny_entry().weights
    assert isinstance(entry, HubWeights)
    vae, dit = tiny_vae(), tiny_dit()
    found = stream_needs(dit, vae, entry.defaults, (64, 64), torch.float32)
    encoder = decoder = state = None
    text = dit.embed_text(torch.randn(1, 4, DIT_SPEC.text_dim), torch.ones(1, 4, dtype=torch.bool))
    for num_raw in (17, 24, 24):
        latent, encoder = vae.encode(torch.zeros(1, 3, num_raw, 64, 64), encoder)
        _, state = dit(torch.cat([latent, latent], 1), torch.zeros(1, 1), text, state, write=True)
        _, decoder = vae.decode(latent, decoder)
    assert state is not None
    kept = [x for tree in (encoder, decoder, state.peek()) for _, x in tree_tensors(tree)]
    assert found.state_bytes == sum(x.numel() * x.element_size() for x in kept)
    assert found.raw_frames_per_chunk == 24


def test_the_full_size_needs_are_in_the_range_of_the_paper():
    weights, vae = full_size()
    with torch.device("meta"):
        dit = StreamingDit(weights.dit_spec)
    assert weight_bytes(dit, BF16) + weight_bytes(vae, BF16) == pytest.approx(6.8e9, rel=0.03)
    found = stream_needs(dit, vae, weights.defaults, (1280, 704), BF16)
    assert found.raw_frames_per_chunk == 24
    # 9.84 TFLOP a forward in the paper's count, five of them, and the VAE
    assert found.tflop_per_chunk > 5 * 9.84
    half = stream_needs(dit, vae, weights.defaults, (640, 704), BF16)
    assert half.tflop_per_chunk == pytest.approx(found.tflop_per_chunk / 2, rel=0.01)
    assert half.work_bytes * 2 == found.work_bytes
    assert found.next_state_bytes == found.state_bytes
    lean = stream_needs(dit, vae, weights.defaults, (1280, 704), BF16, vae_frames=1)
    assert lean.work_bytes * 3 == found.work_bytes
    # the transformer's alone: 5 blocks with 6 frames of keys and values, 20 tails, 15 small states
    assert lean.next_state_bytes == pytest.approx(0.33e9, rel=0.02)
    assert lean.state_bytes == found.state_bytes
    last = stream_needs(
        dit,
        vae,
        EditorDefaults(frames_per_chunk=3, num_denoising_steps=2, commit="last_step"),
        (1280, 704),
        BF16,
    )
    assert last.tflop_per_chunk < found.tflop_per_chunk


def test_a_gpu_without_room_says_how_much_is_needed_and_what_to_lower(monkeypatch):
    gpu_with(monkeypatch, 10, total_gb=24)
    sentence = (
        r"cuda:0 has 10\.0 of 24\.0 GB free, but the model needs 12\.0 GB .*7\.0 for its weights, 5\.0 "
    )
    with pytest.raises(InputError, match=sentence + r".*--precision bf16.*--device"):
        check_gpu_room(GPU, 7_000_000_000, 5_000_000_000)


def test_the_text_encoder_stays_only_where_room_for_streams_is_left(monkeypatch):
    gpu_with(monkeypatch, 16)
    assert not check_gpu_room(GPU, 7_000_000_000, 5_000_000_000)
    gpu_with(monkeypatch, 20)
    assert check_gpu_room(GPU, 7_000_000_000, 5_000_000_000)


def test_a_stream_without_room_is_refused_with_a_size_that_fits(monkeypatch):
    gpu_with(monkeypatch, 1.0)
    with pytest.raises(
        InputError, match=r"1\.0 GB free, but a stream of 1280x704 needs about 4\.0 GB"
    ) as caught:
        check_stream_room(GPU, NEEDS, (1280, 704))
    width, height = map(int, re.findall(r"sides of about (\d+) and (\d+)", str(caught.value))[0])
    assert width % 32 == height % 32 == 0
    assert width * height <= 1280 * 704 / 4
    # what torch holds without using it counts as free
    gpu_with(monkeypatch, 1.0, idle_gb=3.5)
    check_stream_room(GPU, NEEDS, (1280, 704))


def test_an_editor_asks_when_the_size_of_a_stream_is_known(monkeypatch):
    gpu_with(monkeypatch, 0.0)
    pipeline = SimpleNamespace(device=GPU, dtype=BF16, vae=tiny_vae(), dit=tiny_dit(), vae_frames=None)
    weights = tiny_entry().weights
    assert isinstance(weights, HubWeights)
    editor = Editor(pipeline, weights.defaults)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="a stream of 64x96 needs about"):
        editor.check_room((64, 96))
    pipeline.device = torch.device("cpu")
    editor.check_room((64, 96))


def test_the_warning_without_a_gpu_has_an_estimate_from_this_cpu(monkeypatch):
    monkeypatch.setattr(needs, "tflop_per_second", lambda _: 0.1)
    sentence = str(warn_of_cpu("sana-streaming", 5_000_000_000, NEEDS, BF16))
    assert "about 9 GB of memory and about 17 minutes for every 24 frames" in sentence
    monkeypatch.setattr(needs, "tflop_per_second", lambda _: 5.0)
    assert "about 20 seconds" in str(warn_of_cpu("sana-streaming", 5_000_000_000, NEEDS, BF16))


def test_too_little_main_memory_is_refused(monkeypatch):
    monkeypatch.setattr(needs.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000_000_000))
    with pytest.raises(InputError, match=r"needs about 9\.0 GB of memory, but this machine has 8\.0 GB"):
        warn_of_cpu("sana-streaming", 5_000_000_000, NEEDS, BF16)


def test_this_cpu_multiplies_at_a_rate_that_computers_have():
    assert 1e-4 < tflop_per_second(torch.float32) < 100
