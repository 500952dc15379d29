"""Fused kernels compute what plain ones do: on Triton's interpreter in fp32, on a GPU also in bf16."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def found_by(script: str, *, interprets: bool) -> list:
    # the interpreter is chosen when Triton is imported, so it runs in a process of its own
    folders = os.pathsep.join(map(str, HERE.parents[:2]))
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interprets)), "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, str(HERE / script)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_triton
def test_kernels_equal_their_definitions_on_the_interpreter():
    found = found_by("kernel_cases.py", interprets=True)
    assert len(found) > 25
    limits = {name: 1e-3 if name.startswith("fp16") else 2e-6 for name, _ in found}
    assert {name: error for name, error in found if not error < limits[name]} == {}


@needs_triton
def test_a_model_of_fused_kernels_streams_like_one_of_plain_operations():
    found = found_by("model_on_interpreter.py", interprets=True)
    assert len(found) == 10
    # 0 would also say that it were the same to the bit, so that no kernel ran
    assert all(error < 2e-4 for error in found), found


@needs_triton
def test_every_kernel_compiles_for_hopper_without_a_gpu():
    found = found_by("compiled_for_hopper.py", interprets=False)
    written = {
        name
        for file in (HERE.parents[1] / "vivace" / "ops").rglob("*.py")
        for name in re.findall(r"def (_\w+_kernel|_lay_out)\(", file.read_text())
    }
    assert len(written) > 15
    assert set(found) == written


@pytest.mark.gpu
@needs_triton
class TestOnGpu:
    """Compiled kernels."""

    @pytest.fixture(autouse=True)
    def _needs_gpu(self):
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")

    @pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
    @torch.inference_mode()
    def test_kernels_equal_their_definitions(self, dtype, limit):
        sys.path.insert(0, str(HERE))
        import kernel_cases

        generator = torch.Generator("cuda").manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device="cuda").to(dtype)

        found = [
            *kernel_cases.gdn(normal, None),
            *kernel_cases.rows(normal),
            *kernel_cases.text_attention(normal),
            *kernel_cases.depthwise(normal, fast=dtype == torch.bfloat16),
        ]
        assert {name: error for name, error in found if not error < limit} == {}
