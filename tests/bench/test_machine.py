"""What is said about the machine is true of this process."""

import os

import numpy as np
import psutil
import torch

from vivace.bench.machine import describe_machine, peak_rss_mib


def test_the_peak_grows_with_what_is_held_and_never_falls():
    before = peak_rss_mib()
    assert before >= psutil.Process().memory_info().rss / 2**20 * 0.9
    held = np.ones((64, 2**20), dtype=np.uint8)
    after = peak_rss_mib()
    assert after >= before
    assert after >= psutil.Process().memory_info().rss / 2**20 * 0.99
    del held
    assert peak_rss_mib() >= after


def test_the_machine_is_this_one():
    machine = describe_machine(torch.device("cpu"), has_native_bf16=True)
    assert machine.processor
    assert machine.num_cores == os.cpu_count()
    assert machine.num_threads == torch.get_num_threads()
    assert machine.torch == torch.__version__
    assert 0.5 < machine.memory_gib < 10_000
