import subprocess
import sys

import pytest

from vivace.catalog.allocator import keep_freed_memory

COUNT_FAULTS = """
import resource
import torch
from vivace.catalog.allocator import keep_freed_memory
assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
# a warm-up, then blocks that together exceed the 64 MiB that glibc keeps by itself at most
for _ in range(3):
    parts = [torch.ones(2 << 20) for _ in range(12)]
    del parts
before = faults()
for _ in range(20):
    parts = [torch.ones(2 << 20) for _ in range(12)]
    del parts
print(faults() - before)
"""


def count_faults() -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True, timeout=120
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_kept_memory_is_not_faulted_in_again():
    # without it glibc often, but not always, gives the blocks back: then it is about 245,000 pages
    assert count_faults() < 1_000


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
