"""Where Triton kernels serve: CUDA tensors that need no gradient, and Triton installed."""

from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor


def serves(*tensors: Tensor | None) -> bool:
    """Whether fused kernels without a backward can take these tensors."""
    present = [tensor for tensor in tensors if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in present):
        return False
    return is_triton_device(*present)


def is_triton_device(*tensors: Tensor) -> bool:
    """Whether the tensors are on a CUDA device, none in fp64 (kernels compute in fp32), with Triton there."""
    return all(x.is_cuda and x.dtype != torch.float64 for x in tensors) and _has_triton()


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return find_spec("triton") is not None
