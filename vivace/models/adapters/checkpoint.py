"""Fill a module with a checkpoint's tensors, strictly: what is missing or mis-shaped refuses."""

import warnings
from collections.abc import Mapping

from torch import Tensor, nn

from vivace.core.errors import WeightsError


class UnknownTensorWarning(UserWarning):
    """A checkpoint holds tensors that nothing reads and that are not known to be harmless."""


def warn_unknown(names: list[str], source: str) -> None:
    """Warn once about tensors that are left out."""
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        warnings.warn(
            f"{source} holds {names[0]}{more}, which nothing here reads; left out",
            UnknownTensorWarning,
            stacklevel=2,
        )


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give every parameter and buffer of `module` its value, in the dtype and on the device that it has.

    Args:
        module: Network with our names.
        tensors: Values under our names; those that `module` does not have are left out with a warning.
        source: What to call the checkpoint in messages.

    Raises:
        WeightsError: If a tensor is missing or has another shape; nothing was changed then.
    """
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            missing = sum(other not in tensors for other in wanted)
            raise WeightsError(
                f"{source} lacks {name} ({missing} of {len(wanted)} tensors are missing); pull it again, or "
                "name the model that it belongs to"
            )
        if tensors[name].shape != tensor.shape:
            raise WeightsError(
                f"{source}: {name} has shape {list(tensors[name].shape)}, expected {list(tensor.shape)}; "
                "the checkpoint belongs to another model"
            )
    warn_unknown([name for name in tensors if name not in wanted], source)
    module.load_state_dict({name: tensors[name] for name in wanted})
