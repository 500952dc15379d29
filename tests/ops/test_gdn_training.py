"""The trainable kernels of the gated delta rule have the definition's results and gradients."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@needs_triton
def test_results_and_gradients_are_those_of_the_definition_on_the_interpreter():
    # the interpreter is chosen when Triton is imported, so it runs in a process of its own
    folders = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": folders}
    script = [sys.executable, str(TESTS / "gdn_training_cases.py")]
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    # three results and seven gradients, two more from a state, of four sizes
    assert len(found) == 4 * (10 + 12)
    assert {name: far for name, far in found if not far < 3e-6} == {}


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_results_and_gradients_are_those_of_the_definition_on_a_gpu(dtype, limit):
    from gdn_training_cases import check

    found = list(check(torch.device("cuda"), dtype))
    assert {name: far for name, far in found if not far < limit} == {}
