"""The type checker behind the shape annotations of the network rooms; see addopts in pyproject.toml.

jaxtyping checks axes, beartype the rest. beartype cannot resolve `Self` where single methods are decorated,
which is how jaxtyping's hook works; such methods go unchecked.
"""

from collections.abc import Callable
from typing import TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

Function = TypeVar("Function", bound=Callable)

# whole numbers count as floats, as type checkers have it
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Function) -> Function:
    """`function`, raising where an argument or result has another shape or type than annotated."""
    try:
        return _check(function)
    except BeartypeDecorHintPep673Exception:
        return function
