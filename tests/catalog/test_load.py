"""A folder becomes a pipeline on the right device in the right precision, or an error that says why not."""

import shutil

import pytest
import torch

from vivace.catalog.load import (
    build_pipeline,
    choose_device,
    choose_dtype,
    has_native_bf16,
    live_threads,
    load_pipeline,
    use_threads,
)
from vivace.catalog.model_folder import DIT_SPEC_NAME, ModelFolder
from vivace.catalog.sampling import editing_sigmas
from vivace.core.errors import ConfigError, InputError, WeightsError
from vivace.core.grid import ChunkPlan
from vivace.layers.packed import PackedConv, PackedLinear, can_pack
from vivace.pipelines.stream import StreamSettings


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_whole_pipeline_has_the_wanted_precision(toy_folder, name, dtype):
    pipeline = load_pipeline(toy_folder, "cpu", name)
    tensors = [*pipeline.dit.parameters(), *pipeline.vae.parameters()]
    assert {tensor.dtype for tensor in tensors} == {dtype}
    assert pipeline.device == torch.device("cpu")
    assert not pipeline.dit.training


def test_auto_precision_asks_the_hardware():
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == (torch.bfloat16 if has_native_bf16() else torch.float32)
    assert choose_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("fp32", torch.device("cuda")) == torch.float32


def test_fp8_without_a_gpu_that_has_it_is_one_sentence(toy_folder, monkeypatch):
    with pytest.raises(InputError, match=r"^fp8 needs a CUDA GPU of compute capability 8.9 .*, got cpu; use"):
        load_pipeline(toy_folder, "cpu", "fp8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an old one")
    with pytest.raises(ConfigError, match=r"an old one has compute capability 8.6 .*choose bf16"):
        choose_dtype("fp8", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    assert choose_dtype("fp8", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize("graphs", ["dit", "all"])
def test_graphs_need_a_gpu(toy_folder, graphs):
    folder = ModelFolder.at(toy_folder)
    with pytest.raises(InputError, match=f"got graphs '{graphs}' on cpu"):
        build_pipeline(folder, "cpu", graphs=graphs)
    assert build_pipeline(folder, "cpu", graphs="auto").graphs is None
    assert build_pipeline(folder, "cpu", graphs="off").graphs is None


@pytest.mark.gpu
def test_the_bundled_editor_in_fp8_is_near_the_one_in_bf16():
    edits, frames = [], torch.randint(0, 256, (41, 192, 320, 3), dtype=torch.uint8)
    for precision in ("bf16", "fp8"):
        pipeline = load_pipeline("tiny-edit", "cuda", precision)
        assert pipeline.precision == precision
        assert pipeline.graphs is not None
        settings = StreamSettings(
            width_px=320,
            height_px=192,
            seed=0,
            sigmas=editing_sigmas(2),
            commit="clean_pass",
            plan=ChunkPlan.live(1),
        )
        stream = pipeline.open("make it a snowy night", settings)
        edits.append(torch.cat([pipeline.step(stream, frames), pipeline.step(stream, None)]).float())
        # reading and writing steps, of every size that the memory has had
        assert pipeline.graphs.num_recordings() >= 4
    assert 0 < (edits[0] - edits[1]).abs().mean() < 6


@pytest.mark.parametrize("has_operators", [True, False])
def test_on_a_cpu_both_networks_are_packed_where_torch_has_the_operators(
    toy_folder, monkeypatch, has_operators
):
    if not has_operators:
        monkeypatch.setattr("vivace.catalog.load.can_pack", lambda *_: False)
    elif not can_pack(PackedLinear, torch.float32):
        pytest.skip("this build of torch has no oneDNN")
    pipeline = load_pipeline(toy_folder, "cpu", "fp32")
    for network, kind in ((pipeline.dit, PackedLinear), (pipeline.vae, PackedConv)):
        assert any(isinstance(module, kind) for module in network.modules()) == has_operators


def test_random_weights_need_the_specs_only(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "model")
    for part in ("dit", "video_vae"):
        for weights in (copy / part).glob("*.safetensors"):
            weights.unlink()
    folder = ModelFolder.at(copy)
    assert build_pipeline(folder, "cpu", weights="random").dit.spec.dim == 24
    with pytest.raises(WeightsError, match="expected weights"):
        build_pipeline(folder, "cpu")


def test_weights_that_do_not_fit_are_refused_in_one_line(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "model")
    spec = copy / "dit" / DIT_SPEC_NAME
    text = spec.read_text()
    spec.write_text(text.replace('"text_dim": 12', '"text_dim": 10'))
    with pytest.raises(WeightsError, match=r"text_hidden\.weight") as caught:
        load_pipeline(copy, "cpu")
    assert "\n" not in str(caught.value)
    spec.write_text(text.replace('"dim": 24', '"dimension": 24'))
    with pytest.raises(ConfigError, match="dimension"):
        load_pipeline(copy, "cpu")


def test_parts_that_were_not_trained_together_are_refused(toy_folder, tmp_path):
    copy = shutil.copytree(toy_folder, tmp_path / "model")
    spec = copy / "dit" / DIT_SPEC_NAME
    spec.write_text(spec.read_text().replace('"text_dim": 12', '"text_dim": 10'))
    with pytest.raises(WeightsError, match="trained together"):
        build_pipeline(ModelFolder.at(copy), "cpu", weights="random")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=r"expected|there is no device"):
        choose_device(name)


def test_threads_come_from_the_argument_or_the_environment(monkeypatch):
    before = torch.get_num_threads()
    try:
        use_threads(1)
        assert torch.get_num_threads() == 1
        monkeypatch.setenv("VIVACE_NUM_THREADS", "2")
        use_threads(None)
        assert torch.get_num_threads() == 2
        use_threads(1)
        assert torch.get_num_threads() == 1
        monkeypatch.delenv("VIVACE_NUM_THREADS")
        use_threads(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(InputError, match="at least 1"):
        use_threads(0)


def test_few_step_lists_are_the_official_ones_or_evenly_shifted():
    assert editing_sigmas(4) == (1.0, 0.961, 0.893, 0.743)
    assert editing_sigmas(2) == (1.0, 0.743)
    assert editing_sigmas(3) == pytest.approx((1.0, 16 / 17, 0.8))
    assert editing_sigmas(1) == (1.0,)
    with pytest.raises(InputError, match="1 to 8"):
        editing_sigmas(9)


def test_a_live_server_leaves_a_core_free_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("VIVACE_NUM_THREADS", raising=False)
    for cores, threads in ((1, 1), (2, 1), (8, 7), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert live_threads(None) == threads
    assert live_threads(3) == 3
    monkeypatch.setenv("VIVACE_NUM_THREADS", "5")
    assert live_threads(None) == 5
