"""A pulled SANA-Streaming edits video: official layout at toy size, on the CPU, without a network."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("huggingface_hub")

from fake_hub import fake_hub
from live_sessions import SETTINGS, edited_alone, film, pixels_of, pump, push_all, still
from tiny_ltx2 import tiny_vae
from tiny_sana import sana_repositories, tiny_dit, tiny_entry
from vivace.catalog import entries, load
from vivace.catalog.editor import Editor, open_editor
from vivace.catalog.entries import SANA_STREAMING, SANA_STREAMING_BIDIRECTIONAL, HubWeights, find_folder
from vivace.catalog.load import build_pipeline, load_networks
from vivace.catalog.model_folder import DEFAULTS_NAME, ModelFolder
from vivace.catalog.needs import LARGE_BYTES
from vivace.catalog.pull import PullPlan, pull
from vivace.core.config import write_config
from vivace.core.errors import InputError, VivaceWarning, WeightsError
from vivace.core.grid import ChunkPlan
from vivace.diffusion.noise import stream_noise
from vivace.models.gemma_prompts import GemmaPrompts
from vivace.models.ltx2_vae import Ltx2Vae
from vivace.pipelines.stream import StreamSettings

SIZE = 64


class Silent:
    def begins(self, plan: PullPlan) -> None: ...

    def advances(self, num_bytes: int) -> None: ...

    def works_on(self, stage: str) -> None: ...


@pytest.fixture(scope="module")
def home(gemma_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with fake_hub() as hub:
        hub.repositories = sana_repositories(gemma_folder)
        pull(tiny_entry(), home, Silent(), endpoint=hub.endpoint)
    return home


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFolder:
    monkeypatch.setenv("VIVACE_HOME", str(home))
    return find_folder("sana-streaming")


@pytest.fixture
def editor(folder: ModelFolder) -> Editor:
    return open_editor("sana-streaming", device="cpu", dtype="fp32")


def frames(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_pulled_model_has_the_weights_and_the_plan_of_the_release(editor, folder):
    pipeline = editor.pipeline
    assert isinstance(pipeline.vae, Ltx2Vae)
    assert isinstance(pipeline.prompts, GemmaPrompts)
    for found, wanted in ((pipeline.dit, tiny_dit()), (pipeline.vae, tiny_vae(3))):
        theirs = wanted.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in found.state_dict().items())
        assert not any(parameter.requires_grad for parameter in found.parameters())
    first = pipeline.vae.encoder.enter.weight
    assert first.is_contiguous(memory_format=torch.channels_last_3d)
    assert folder.defaults.plan == ChunkPlan.live(3, first_chunk_frames=3)
    assert folder.defaults.num_denoising_steps == 4
    assert folder.defaults.commit == "clean_pass"
    assert editor.size_multiple == 32
    assert editor.fit(640, 360) == (64, 32)
    assert isinstance(SANA_STREAMING.weights, HubWeights)
    full = Editor(pipeline, SANA_STREAMING.weights.defaults)
    assert full.fit(1920, 1080) == full.fit(1280, 720) == (1280, 704)
    assert full.fit(1080, 1920) == (704, 1248)
    assert full.fit(640, 480) == (1056, 800)


def test_every_frame_is_edited_and_the_cut_of_the_pushes_does_not_matter(editor):
    source = frames(44)
    results = []
    for cuts in ([44], [1, 16, 20, 7]):
        stream = editor.open("make it snow", num_denoising_steps=2)
        parts = np.split(source, np.cumsum(cuts)[:-1])
        edited = [stream.push(part) for part in parts]
        # latent frames 0 to 2 hold 1 + 8 + 8 raw frames, every later chunk 24
        assert sum(map(len, edited)) == 41
        edited.append(stream.finish())
        results.append(np.concatenate(edited))
        assert len(results[-1]) == 44
    np.testing.assert_array_equal(*results)
    assert results[0].std() > 1


def test_the_words_change_the_result_and_the_commit_mode_does(editor):
    def edit(words: str, **options: object) -> np.ndarray:
        with editor.open(words, num_denoising_steps=2, **options) as stream:
            return np.concatenate([stream.push(frames(41)), stream.finish()])

    plain = edit("make it snow")
    assert (plain != edit("turn it into a pencil sketch")).any()
    assert (plain != edit("make it snow", commit="last_step"))[17:].any()
    np.testing.assert_array_equal(plain, edit("make it snow"))


def test_the_pipeline_computes_what_its_parts_compute_one_after_the_other(editor):
    """Encode, 2 Euler steps, clean commit and decode of two chunks, written out by hand."""
    pipeline = editor.pipeline
    settings = StreamSettings(
        width_px=SIZE,
        height_px=SIZE,
        seed=3,
        sigmas=(1.0, 0.743),
        commit="clean_pass",
        plan=editor.defaults.plan,
    )
    source = torch.from_numpy(frames(41))
    edited = pipeline.step(pipeline.open("make it snow", settings), source)
    dit, vae = tiny_dit(), tiny_vae(3)
    features = pipeline.prompts.encode(["make it snow"])
    text = dit.embed_text(features.tokens, features.mask)
    video = source.permute(3, 0, 1, 2)[None] / 127.5 - 1
    encoder = decoder = state = None
    raw, start = 0, 0
    for num_raw in (17, 24):
        latent, encoder = vae.encode(video[:, :, raw : raw + num_raw], encoder)
        noise = load_noise(settings.seed, start, latent)
        x = noise
        for sigma, after in ((1.0, 0.743), (0.743, 0.0)):
            velocity, _ = dit(torch.cat([x, latent], 1), torch.tensor([[sigma]]), text, state, write=False)
            x = x + (after - sigma) * velocity
        _, state = dit(torch.cat([x, latent], 1), torch.zeros(1, 1), text, state, write=True)
        pictures, decoder = vae.decode(x, decoder)
        wanted = ((pictures[0].permute(1, 2, 3, 0) + 1) * 127.5).round().clamp(0, 255)
        difference = edited[raw : raw + num_raw].float() - wanted
        assert difference.abs().max() <= 1
        raw, start = raw + num_raw, start + 3


def test_an_engine_serves_it_frame_by_frame_with_the_same_result(editor):
    settings = replace(SETTINGS, size=(SIZE, SIZE))
    engine = still(editor)
    session = engine.open_sync(settings)
    source = film(44, height=SIZE, width=SIZE)
    push_all(session, source)
    session.finish()
    pump(engine)
    edited = session.take_frames()
    assert np.array_equal(pixels_of(edited), edited_alone(editor, source, settings))
    assert [frame.chunk_index for frame in edited] == [0] * 17 + [1] * 24 + [2] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_edits_as_the_cpu_does(editor):
    on_gpu = open_editor("sana-streaming", device="cuda", dtype="fp32")
    assert all(parameter.is_cuda for parameter in on_gpu.pipeline.dit.parameters())
    results = []
    for each in (editor, on_gpu):
        with each.open("make it snow", num_denoising_steps=2) as stream:
            results.append(np.concatenate([stream.push(frames(41)), stream.finish()]).astype(float))
    assert np.abs(results[0] - results[1]).mean() < 1


def load_noise(seed: int, start: int, like: torch.Tensor) -> torch.Tensor:
    return stream_noise(seed, start, like.shape[2], like.shape[1], (like.shape[3], like.shape[4]), ())


def test_the_folder_can_be_moved_to_another_machine(home, tmp_path):
    moved = shutil.copytree(home / "models" / "sana-streaming", tmp_path / "mine")
    pipeline = build_pipeline(ModelFolder.at(moved), "cpu", "bf16")
    assert next(pipeline.dit.parameters()).dtype == torch.bfloat16
    assert next(iter(pipeline.vae.parameters())).dtype == torch.bfloat16


def test_a_model_that_was_not_pulled_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVACE_HOME", str(tmp_path))
    for name in ("sana-streaming", "sana-streaming-bidirectional"):
        with pytest.raises(InputError, match=f"fetch them once with: vivace pull {name}$"):
            open_editor(name)


def test_the_bidirectional_model_loads_but_edits_no_stream(home, tmp_path):
    moved = shutil.copytree(home / "models" / "sana-streaming", tmp_path / "mine")
    weights = SANA_STREAMING_BIDIRECTIONAL.weights
    assert isinstance(weights, HubWeights)
    write_config(weights.defaults, moved / DEFAULTS_NAME)
    folder = ModelFolder.at(moved)
    with pytest.raises(InputError, match=r"whole clips at once .*use sana-streaming"):
        build_pipeline(folder, "cpu")
    networks = load_networks(folder, torch.device("cpu"), torch.float32)
    assert networks.dit.spec.dim == 48


def test_parts_of_different_models_are_refused(home, tmp_path):
    moved = shutil.copytree(home / "models" / "sana-streaming", tmp_path / "mine")
    spec = moved / "video_vae" / "ltx2_vae.json"
    spec.write_text(spec.read_text().replace('"latent_channels": 8', '"latent_channels": 6'))
    with pytest.raises(WeightsError, match="trained together"):
        build_pipeline(ModelFolder.at(moved), "cpu")


def test_random_weights_need_no_stored_ones(home, tmp_path):
    moved = shutil.copytree(home / "models" / "sana-streaming", tmp_path / "mine")
    for part in ("dit", "video_vae"):
        shutil.rmtree(moved / part)
        shutil.copytree(
            home / "models" / "sana-streaming" / part,
            moved / part,
            ignore=shutil.ignore_patterns("*.safetensors"),
        )
    with pytest.raises(WeightsError, match="expected weights"):
        build_pipeline(ModelFolder.at(moved), "cpu")
    folder = ModelFolder.at(moved)
    editor = Editor(build_pipeline(folder, "cpu", "fp32", weights="random"), folder.defaults)
    with editor.open("make it snow", num_denoising_steps=1) as stream:
        assert len(stream.push(frames(17))) == 17


def test_a_large_model_on_a_cpu_warns_once_with_an_estimate(folder, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_pipeline(folder, "cpu", "fp32")
    monkeypatch.setattr(load, "LARGE_BYTES", 1000)
    with pytest.warns(
        VivaceWarning, match=r"sana-streaming runs without a GPU .* for every 24 frames"
    ) as seen:
        build_pipeline(folder, "cpu", "fp32")
    assert len(seen) == 1
    assert LARGE_BYTES > 1000


def test_the_catalogue_is_not_changed_by_the_toy():
    assert replace(tiny_entry(), weights=entries.SANA_STREAMING.weights) == entries.SANA_STREAMING
