"""The streaming LTX-2 VAE on a GPU: the same frames, no waiting, no growth, and replay from a graph."""

from collections.abc import Iterator

import pytest
import torch

from gpu_checks import waiting_is_an_error
from tiny_ltx2 import tiny_vae
from vivace.models.ltx2_vae import Ltx2DecoderState, Ltx2EncoderState, Ltx2Vae
from vivace.state.tree import tree_map, tree_tensors

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _exact_convolutions() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), torch.no_grad():
        yield


def streamed(vae: Ltx2Vae, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    video = (torch.rand(1, 3, 25, 64, 96, generator=generator) * 2 - 1).to(device)
    encoder: Ltx2EncoderState | None = None
    decoder: Ltx2DecoderState | None = None
    latents, pictures = [], []
    for part in video.split([1, 8, 8, 8], dim=2):
        latent, encoder = vae.encode(part, encoder)
        picture, decoder = vae.decode(latent, decoder)
        latents.append(latent)
        pictures.append(picture)
    return torch.cat(latents, dim=2).cpu(), torch.cat(pictures, dim=2).cpu()


def test_a_stream_gives_the_frames_that_it_gives_on_a_cpu():
    expected = streamed(tiny_vae(), torch.device("cpu"))
    got = streamed(tiny_vae().to(CUDA), CUDA)
    for ours, theirs in zip(got, expected):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


def test_a_settled_stream_neither_waits_for_the_gpu_nor_takes_more_memory():
    vae = tiny_vae().to(CUDA, torch.bfloat16)
    video = torch.rand(1, 3, 8, 64, 96, device=CUDA, dtype=torch.bfloat16)
    _, encoder = vae.encode(video[:, :, :1], None)
    latent, encoder = vae.encode(video, encoder)
    _, decoder = vae.decode(latent[:, :, :1], None)
    for _ in range(3):
        latent, encoder = vae.encode(video, encoder)
        _, decoder = vae.decode(latent, decoder)
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    with waiting_is_an_error():
        for _ in range(20):
            latent, encoder = vae.encode(video, encoder)
            _, decoder = vae.decode(latent, decoder)
    assert torch.cuda.memory_allocated() == held


def test_decoding_is_replayed_from_a_cuda_graph_to_the_bit():
    vae = tiny_vae().to(CUDA)
    latents = torch.randn(1, 8, 6, 2, 3, device=CUDA)
    _, state = vae.decode(latents[:, :, :1], None)
    eager, kept = [], state
    for index in range(1, 6):
        video, kept = vae.decode(latents[:, :, index : index + 1], kept)
        eager.append(video)
    here, latent = tree_map(torch.clone, state), latents[:, :, 1:2].clone()

    def step() -> torch.Tensor:
        video, after = vae.decode(latent, here)
        for (_, old), (_, new) in zip(tree_tensors(here), tree_tensors(after)):
            old.copy_(new)
        return video

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    for (_, old), (_, start) in zip(tree_tensors(here), tree_tensors(state)):
        old.copy_(start)
    for index, expected in enumerate(eager, start=1):
        latent.copy_(latents[:, :, index : index + 1])
        graph.replay()
        assert torch.equal(result, expected)
