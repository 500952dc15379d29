"""What GPU tests watch for."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Whatever makes the host wait for the GPU raises."""
    with warnings.catch_warnings():
        # that the mode is a prototype is said once a process
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
