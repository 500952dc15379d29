"""SANA-Streaming: our classes reproduce the official numbers."""

import pytest
import torch
from einops import rearrange
from torch import Tensor

from vivace.core.errors import WeightsError
from vivace.core.grid import ChunkPlan
from vivace.diffusion.sampler import SANA_STREAMING_4_STEPS, euler_step
from vivace.layers.attention import SinkWindowAttention, SoftmaxSpec
from vivace.layers.feed_forward import GluConvFeedForward
from vivace.layers.gdn import GdnMixer, GdnSpec
from vivace.layers.rope import rotate, rotation_table
from vivace.models.adapters.checkpoint import UnknownTensorWarning
from vivace.models.adapters.sana_streaming import CENTER_TAP, from_official, to_official
from vivace.models.streaming_dit import DitSpec, StreamingDit, hybrid_mixers
from vivace.ops.frame_gdn import FrameGdnInputs, chunked, naive
from vivace.state.kv_cache import SinkWindowCache
from vivace.state.recurrent import GdnState

TOLERANCE = 1e-5
HEADS, HEIGHT, WIDTH = 2, 2, 3


def assert_same(ours: Tensor, expected: Tensor) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max().item() <= TOLERANCE


def by_frame(x: Tensor, frames: int) -> Tensor:
    return rearrange(x, "b heads d (t s) -> b heads t s d", t=frames)


def op_inputs(file: dict[str, Tensor], frames: int) -> FrameGdnInputs:
    part = {name.removeprefix(f"T{frames}."): value for name, value in file.items()}
    query, key, value = (by_frame(part[name], frames) for name in "qkv")
    table = torch.complex(
        *(rearrange(part[f"rope_{name}"], "(t s) d -> t s d", t=frames) for name in ("cos", "sin"))
    )
    return FrameGdnInputs(
        query=query,
        key=key,
        rotated_query=rotate(query, table),
        rotated_key=rotate(key, table),
        value=value,
        beta=rearrange(part["beta"], "b t s heads -> b heads t s"),
        decay=part["decay"],
    )


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_scans_reproduce_the_official_recurrence(golden, frames):
    file = golden("sana_A_frame_gdn_op")
    inputs = op_inputs(file, frames)
    expected = {name.removeprefix(f"expected.T{frames}."): value for name, value in file.items()}
    assert_same(inputs.rotated_query, by_frame(expected["q_rot"], frames))
    assert_same(inputs.rotated_key, by_frame(expected["k_rot"], frames))
    table = rotation_table(range(2, 2 + frames), HEIGHT, WIDTH, 48, torch.device("cpu")).flatten(0, 1)
    assert_same(table.real, file[f"T{frames}.rope_cos"])
    assert_same(table.imag, file[f"T{frames}.rope_sin"])

    starts = {
        "": naive.empty_state(inputs),
        "_init": (file[f"T{frames}.state_kv_init"], file[f"T{frames}.state_z_init"][..., 0]),
    }
    for suffix, start in starts.items():
        read, norm, numerator, denominator = naive.forward_scan(inputs, *start)
        assert_same(read, by_frame(expected[f"num_fwd{suffix}"], frames))
        assert_same(norm[..., None], by_frame(expected[f"den_fwd{suffix}"], frames))
        last = "_from_init" if suffix else ""
        assert_same(numerator, expected[f"state_kv{last}"])
        assert_same(denominator, expected[f"state_z{last}"][..., 0])
        for form in (naive, chunked):
            out, state, norm_state = form.frame_gdn(inputs, (frames,), *start)
            assert_same(out, by_frame(expected[f"out{suffix}"], frames))
            assert_same(state, expected[f"state_kv{last}"])
            assert_same(norm_state, expected[f"state_z{last}"][..., 0])
    future_read, future_norm = naive.future_scan(inputs)
    assert_same(future_read, by_frame(expected["num_bwd"], frames))
    assert_same(future_norm[..., None], by_frame(expected["den_bwd"], frames))
    causal, _, _ = chunked.frame_gdn(inputs, (1,) * frames)
    assert_same(causal, by_frame(expected["out_causal"], frames))


def test_gates_reproduce_the_official_gates(golden):
    file = golden("sana_A_frame_gdn_op")
    mixer = GdnMixer(96, HEADS, GdnSpec())
    weights = {
        name.rsplit(".", 1)[-1] if "_proj" not in name else name: value
        for name, value in file.items()
        if name.startswith("weights.")
    }
    names = {
        "beta_proj.weight": mixer.write_strength.weight,
        "beta_proj.bias": mixer.write_strength.bias,
        "gate_proj.weight": mixer.decay_gate.weight,
        "gate_proj.bias": mixer.decay_gate.bias,
        "A_log": mixer.log_rate,
        "dt_bias": mixer.rate_bias,
    }
    with torch.no_grad():
        for name, parameter in names.items():
            (value,) = [value for key, value in weights.items() if key.endswith(name)]
            parameter.copy_(value)
        x = rearrange(file["gates.x"], "b (t s) dim -> b t s dim", t=3)
        table = rotation_table(range(3), 1, x.shape[2], 48, x.device)
        projections = mixer.projections(x, table)
        assert_same(projections.write_logit.sigmoid(), file["expected.gates.beta"])
        assert_same(projections.decay().mT, file["expected.gates.decay"])


def module_weights(file: dict[str, Tensor], module: str) -> dict[str, Tensor]:
    """One module's tensors under our names, by way of the adapter's block names."""
    official = {
        f"blocks.0.{'mlp' if module == 'ffn' else 'attn'}.{name.removeprefix(f'weights.{module}.')}": value
        for name, value in file.items()
        if name.startswith(f"weights.{module}.")
    }
    prefix = "blocks.0.feed_forward." if module == "ffn" else "blocks.0.mixer."
    return {name.removeprefix(prefix): value for name, value in from_official(official).items()}


def two_chunks(file: dict[str, Tensor]) -> list[tuple[Tensor, int]]:
    return [
        (rearrange(file["x1"], "b (t s) dim -> b t s dim", t=5), 0),
        (rearrange(file["x2"], "b (t s) dim -> b t s dim", t=3), 5),
    ]


@torch.no_grad()
def test_gdn_module_streams_like_the_official_one(golden):
    file = golden("sana_A2_streaming_modules")
    mixer = GdnMixer(96, HEADS, GdnSpec())
    mixer.load_state_dict(module_weights(file, "gdn"))
    state: GdnState | None = None
    for index, (x, start) in enumerate(two_chunks(file), start=1):
        frames = x.shape[1]
        table = rotation_table(range(start, start + frames), HEIGHT, WIDTH, 48, x.device)
        out, state = mixer(x, table, state, (frames,))
        assert_same(out.flatten(1, 2), file[f"expected.gdn.out{index}"])
        assert_same(state.numerator, file[f"expected.gdn.state_kv{index}"])
        assert_same(state.denominator, file[f"expected.gdn.state_z{index}"][..., 0])


@torch.no_grad()
def test_softmax_module_streams_like_the_official_one(golden):
    file = golden("sana_A2_streaming_modules")
    mixer = SinkWindowAttention(96, HEADS, SoftmaxSpec(num_sink_frames=0, window_frames=None))
    mixer.load_state_dict(module_weights(file, "softmax"))
    state: SinkWindowCache | None = None
    for index, (x, start) in enumerate(two_chunks(file), start=1):
        frames = x.shape[1]
        table = rotation_table(range(start, start + frames), HEIGHT, WIDTH, 48, x.device)
        out, state = mixer(x, table, state, (frames,), start, (HEIGHT, WIDTH), write=True)
        assert_same(out.flatten(1, 2), file[f"expected.softmax.out{index}"])
        if index == 1:
            assert_same(rotate(state.key, table), by_frame(file["expected.softmax.cache1_k"], frames))
            assert_same(state.value, by_frame(file["expected.softmax.cache1_v"], frames))
            query = mixer.qkv(x).chunk(3, dim=-1)[0]
            query = rearrange(mixer.query_norm(query), "b t s (heads d) -> b heads t s d", heads=HEADS)
            assert_same(rotate(query, table), by_frame(file["expected.softmax.cache1_q"], frames))


@torch.no_grad()
def test_feed_forward_streams_like_the_official_one(golden):
    file = golden("sana_A2_streaming_modules")
    layer = GluConvFeedForward(96, 192)
    layer.load_state_dict(module_weights(file, "ffn"))
    state = None
    for index, (x, _) in enumerate(two_chunks(file), start=1):
        alone, _ = layer(x, None, (x.shape[1],), (HEIGHT, WIDTH))
        out, state = layer(x, state, (x.shape[1],), (HEIGHT, WIDTH))
        assert_same(out.flatten(1, 2), file[f"expected.ffn.out{index}"])
        assert_same(state.frames.flatten(3), file[f"expected.ffn.tconv{index}"])
        if index == 1:
            assert_same(alone.flatten(1, 2), file["expected.ffn.out1_nocache"])


def tiny_official_spec(softmax: SoftmaxSpec) -> DitSpec:
    return DitSpec(
        in_channels=16,
        out_channels=8,
        dim=88,
        num_heads=2,
        mlp_ratio=3,
        text_dim=32,
        mixers=hybrid_mixers(4, 1, GdnSpec(), softmax),
    )


def official_weights(file: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix("weights."): value for name, value in file.items() if name.startswith("weights.")
    }


def load_model(file: dict[str, Tensor], softmax: SoftmaxSpec) -> StreamingDit:
    model = StreamingDit(tiny_official_spec(softmax))
    model.load_state_dict(from_official(official_weights(file)), strict=True)
    return model.eval()


@torch.no_grad()
def test_bidirectional_model_reproduces_the_official_velocity(golden):
    file = golden("sana_C_v2v_bidirectional")
    model = load_model(file, SoftmaxSpec(num_sink_frames=0, window_frames=0))
    outputs: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(
            lambda _, __, result: outputs.append(result[1].added_to(result[0]).flatten(1, 2))
        )
    text = model.embed_text(file["text"][:, 0], file["text_mask"].bool())
    sigma = file["timestep"].float()[:, None] / 1000
    velocity, _ = model(torch.cat([file["noisy"], file["source"]], dim=1), sigma, text, write=False)
    assert_same(velocity, file["expected.velocity"])
    assert_same(outputs[0], file["expected.block0_out"])
    assert_same(outputs[3], file["expected.block3_out"])
    no_source = torch.cat([file["noisy"], torch.zeros_like(file["source"])], dim=1)
    velocity, _ = model(no_source, sigma[:1].expand(2, 1), text, write=False)
    assert_same(velocity, file["expected.velocity_zero_source_t0"])


RUNS = {
    "std": SoftmaxSpec(num_sink_frames=1, window_frames=3),
    "efficient": SoftmaxSpec(num_sink_frames=1, window_frames=3),
    "nosink": SoftmaxSpec(num_sink_frames=0, window_frames=6),
    "full": SoftmaxSpec(num_sink_frames=0, window_frames=None),
}


@torch.no_grad()
@pytest.mark.parametrize("run", RUNS)
def test_streaming_model_reproduces_every_official_tensor(golden, run):
    file = golden("sana_D_v2v_streaming_ar")
    model = load_model(file, RUNS[run])
    expected = {
        name.removeprefix(f"expected.{run}."): value
        for name, value in file.items()
        if name.startswith(f"expected.{run}.")
    }
    unchecked = set(expected)

    def check(name: str, ours: Tensor) -> None:
        if name in expected:
            assert_same(ours, expected[name])
            unchecked.discard(name)

    text = model.embed_text(file["text"][:, 0], file["text_mask"].bool())
    sigmas = (*SANA_STREAMING_4_STEPS, 0.0)
    state, finished = None, []
    for chunk in ChunkPlan.official(17, 3).chunks():
        x = file["noise"][:, :, chunk.start : chunk.stop]
        source = file["source"][:, :, chunk.start : chunk.stop]
        velocities = []
        for step, sigma in enumerate(SANA_STREAMING_4_STEPS):
            writes = run == "efficient" and step == 3
            level = torch.tensor([[sigma]])
            velocity, state = model(torch.cat([x, source], dim=1), level, text, state, write=writes)
            x = euler_step(x, velocity, sigma, sigmas[step + 1])
            velocities.append(velocity)
        if run != "efficient":
            level = torch.zeros(1, 1)
            _, state = model(torch.cat([x, source], dim=1), level, text, state, write=True)
        check(f"chunk{chunk.index}_velocity", torch.stack(velocities))
        check(f"chunk{chunk.index}_latents", x)
        finished.append(x)
        for index, block in enumerate(state.peek()):
            name = f"chunk{chunk.index}_block{index}"
            check(f"{name}_tconv", block.tail.frames.flatten(3))
            if isinstance(block.mixer, GdnState):
                check(f"{name}_S_kv", block.mixer.numerator)
                check(f"{name}_S_z", block.mixer.denominator[..., None])
            else:
                newest = slice(block.mixer.num_frames - chunk.num_frames, None)
                table = rotation_table(block.mixer.positions[newest], 4, 6, 44, x.device)
                flat = "b heads t s d -> b heads d (t s)"
                check(f"{name}_k", rearrange(rotate(block.mixer.key[:, :, newest], table), flat))
                check(f"{name}_v", rearrange(block.mixer.value[:, :, newest], flat))
    check("latents", torch.cat(finished, dim=2))
    assert not unchecked


def test_official_names_survive_the_round_trip(golden):
    official = official_weights(golden("sana_D_v2v_streaming_ar"))
    back = to_official(from_official(official), "streaming")
    assert set(official) - set(back) == {"y_embedder.y_embedding"}
    assert not set(back) - set(official)
    for name, tensor in back.items():
        if name.endswith(("attn.q.weight", "attn.k.weight")) and tensor.shape[-1] == 3:
            assert torch.equal(tensor[:, :, CENTER_TAP], official[name][:, :, CENTER_TAP])
        else:
            assert torch.equal(tensor, official[name]), name


def test_bidirectional_names_survive_the_round_trip(golden):
    official = official_weights(golden("sana_C_v2v_bidirectional"))
    back = to_official(from_official(official), "bidirectional")
    assert set(official) - set(back) == {"y_embedder.y_embedding"}
    assert all(torch.equal(tensor, official[name]) for name, tensor in back.items())


def test_a_missing_official_tensor_is_refused_and_an_unknown_one_warns(golden):
    official = official_weights(golden("sana_D_v2v_streaming_ar"))
    strange = {"blocks.0.attn.lora.weight": torch.zeros(1), "extra_head.weight": torch.zeros(1)}
    with pytest.warns(UnknownTensorWarning, match=r"lora\.weight and 1 more"):
        ours = from_official({**official, **strange})
    assert ours.keys() == from_official({**official, "pos_embed": torch.zeros(1, 4, 88)}).keys()
    del official["blocks.0.attn.k.weight"]
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.k\.weight"):
        from_official(official)
