"""Facts about the machine and this process: processor, threads, memory, versions; measures no speed."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

if sys.platform != "win32":
    import resource

MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a measurement was made."""

    processor: str
    num_cores: int
    num_threads: int
    has_native_bf16: bool
    memory_gib: float
    system: str
    python: str
    torch: str


def describe_machine(device: torch.device, *, has_native_bf16: bool) -> Machine:
    """The machine as seen by this process; the processor is the GPU where `device` is one."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return Machine(
        processor=processor,
        num_cores=os.cpu_count() or 1,
        num_threads=torch.get_num_threads(),
        has_native_bf16=has_native_bf16,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def peak_rss_mib() -> float:
    """The most main memory that this process has held so far."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
