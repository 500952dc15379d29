"""Average the weights of two runs of one line.

python -m vivace.recipes.mean_weights --first ONE/weights --second OTHER/weights --share 0.75 --out MEAN

Weights between two runs can be better than either, if both started from the same weights or one from the
other; between runs that did not, they are good for nothing.
Source: Wortsman et al. 2022, "Model soups", which averages with equal shares.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from vivace.core.errors import InputError, WeightsError
from vivace.core.exit_code import exit_code_of
from vivace.recipes.instructed_editor import InstructedEditor


def mean_weights(first: InstructedEditor, second: InstructedEditor, share: float) -> dict[str, Tensor]:
    """The weights `share` of the way from the first editor to the second, in fp32.

    Raises:
        InputError: If `share` is not from 0 to 1.
        WeightsError: If the editors are not of one architecture.
    """
    if not 0 <= share <= 1:
        raise InputError(f"got a share of {share:g} for the second editor; name one from 0 to 1")
    if (first.dit.spec, first.prompts.spec) != (second.dit.spec, second.prompts.spec):
        raise WeightsError("the two editors differ in architecture; average runs with the same specification")
    a, b = first.state_dict(), second.state_dict()
    return {name: a[name].float().lerp(b[name].float(), share) for name in a}


@dataclass(frozen=True, kw_only=True, slots=True)
class Arguments:
    """Average the weights of two editors, both of one start or one trained on from the other.

    Attributes:
        first: Folder of weights, as a stage of training leaves them.
        second: Another.
        out: Where the average goes.
        share: How much the second counts, 0 to 1.
    """

    first: Path
    second: Path
    out: Path
    share: float = 0.5


def main(arguments: Arguments) -> None:
    """Load both, average, export."""
    first, second = InstructedEditor.load(arguments.first), InstructedEditor.load(arguments.second)
    first.export(mean_weights(first, second, arguments.share), arguments.out)
    print(
        f"{arguments.out}: {1 - arguments.share:g} {arguments.first} + {arguments.share:g} {arguments.second}"
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(tyro.cli(Arguments)), "mean_weights"))
