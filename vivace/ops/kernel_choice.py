"""Where faster forms serve: Triton kernels on CUDA tensors, fewer operations on CPUs; few have a backward."""

from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor


def serves(*tensors: Tensor | None) -> bool:
    """Whether fused kernels without a backward can take these tensors."""
    present = [tensor for tensor in tensors if tensor is not None]
    if _wants_gradient(present):
        return False
    # kernels compute in fp32, so fp64 is not for them
    return all(x.is_cuda and x.dtype != torch.float64 for x in present) and _has_triton()


def serves_on_cpu(*tensors: Tensor | None) -> bool:
    """Whether forms for CPUs, which compute in fp32 and without a backward, can take these tensors."""
    present = [tensor for tensor in tensors if tensor is not None]
    if _wants_gradient(present):
        return False
    return all(x.device.type == "cpu" and x.dtype != torch.float64 for x in present)


def trains(*tensors: Tensor | None) -> bool:
    """Whether fused kernels with a backward can take these tensors, of which one needs a gradient."""
    present = [tensor for tensor in tensors if tensor is not None]
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in present):
        return False
    # the compiler sees nothing of what happens in kernels
    if torch.compiler.is_compiling():
        return False
    return all(x.is_cuda and x.dtype != torch.float64 for x in present) and _has_triton()


def _wants_gradient(tensors: list[Tensor]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return find_spec("triton") is not None
