"""Resampling by fused kernels equals its definition, on the CPU's interpreter and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vivace.ops.resample import grown, shrunk

CASES = Path(__file__).parents[1] / "resample_cases.py"


def test_shrinking_stacks_neighbours_and_adds_group_means():
    update = torch.arange(4.0).view(1, 1, 1, 2, 2)
    total = torch.tensor([10.0, 20.0, 30.0, 40.0]).view(1, 1, 1, 2, 2).expand(1, 2, 1, 2, 2)
    got = shrunk(update, torch.tensor([0.5]), total, (1, 2, 2))
    # two channels of four neighbours make four groups of two: each row of each channel
    assert got.flatten().tolist() == [15.5, 36.5, 17.5, 38.5]


def test_growing_undoes_the_order_of_shrinking():
    x = torch.randn(2, 8, 3, 4, 6)
    small = shrunk(x, torch.zeros(8), torch.zeros_like(x), (1, 2, 2))
    back = grown(small, torch.zeros(32), torch.zeros_like(small), (1, 2, 2), num_dropped=0)
    assert torch.equal(back, x)


def test_the_fused_form_equals_the_definition_in_the_interpreter():
    pytest.importorskip("triton")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(CASES)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 24


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_the_fused_form_equals_the_definition_on_a_gpu(dtype, tolerance):
    pytest.importorskip("triton")
    from resample_cases import check

    assert check(torch.device("cuda"), dtype, tolerance) == 24
