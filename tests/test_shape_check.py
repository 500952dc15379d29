"""Annotated shapes are not decoration: the tests run with them switched on."""

import jaxtyping
import pytest
import torch

from vivace.diffusion.flow import velocity_target
from vivace.layers.norm import RmsNorm


def test_a_wrong_shape_is_noticed_in_a_function():
    with pytest.raises(jaxtyping.TypeCheckError):
        velocity_target(torch.zeros(1, 2, 3, 4, 5), torch.zeros(1, 2, 3, 4, 6))


def test_a_wrong_type_is_noticed_in_a_method():
    with pytest.raises(jaxtyping.TypeCheckError):
        RmsNorm(4, eps=1e-6)(torch.zeros(2, 4, dtype=torch.int64))
