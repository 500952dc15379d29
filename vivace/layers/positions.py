"""Where frames of an endless stream stand on the rotary axis: absolutely, or relative to a moving origin."""

from dataclasses import dataclass, replace
from typing import TypeVar

from vivace.core.errors import ConfigError, StateError
from vivace.layers.rope import rotate, rotation_table
from vivace.state.recurrent import GdnState, LinearState

RecurrentState = TypeVar("RecurrentState", bound=GdnState | LinearState)

# length of the official rotary table on every axis
OFFICIAL_FRAMES = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedPositions:
    """Absolute latent frames, as the official code has them; a stream ends with the table.

    Attributes:
        num_frames: Latent frames of the table.
    """

    num_frames: int = OFFICIAL_FRAMES

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ConfigError(f"FixedPositions: got {self.num_frames} frames, expected at least 1")

    def origin(self, start: int, num_frames: int) -> int:
        """Latent frame that stands at position 0 while frames from `start` are worked on: always 0.

        Raises:
            StateError: If the frames go beyond the table.
        """
        if start + num_frames > self.num_frames:
            raise StateError(
                f"latent frames {start} to {start + num_frames} are beyond the {self.num_frames} that fixed "
                "positions have; open a new stream, or use a model with rolling positions"
            )
        return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RollingPositions:
    """Positions that begin again every `period_frames`, so that a stream never ends.

    Every mixer sees differences of positions only, so moving the origin changes nothing but rounding: cached
    keys are kept un-rotated and get new positions, numerator states are rotated back (`rebased`), and
    denominator states hold no rotation. Below the first period, all is as with `FixedPositions`. How far
    behind the sink may appear is `SoftmaxSpec.max_distance_frames`.

    Attributes:
        period_frames: Latent frames between two moves of the origin.
    """

    period_frames: int = OFFICIAL_FRAMES

    def __post_init__(self) -> None:
        if self.period_frames < 1:
            raise ConfigError(f"RollingPositions: got {self.period_frames} frames, expected at least 1")

    def origin(self, start: int, num_frames: int) -> int:
        """Latent frame that stands at position 0 while frames from `start` are worked on."""
        return start // self.period_frames * self.period_frames


Positions = FixedPositions | RollingPositions


def rebased(state: RecurrentState, frames: int) -> RecurrentState:
    """The state after the origin moved forward by `frames` latent frames.

    The key axis of the numerator is rotated back by that many frames; rows and columns stay. Values and the
    un-rotated denominator do not know of positions.
    """
    numerator = state.numerator
    back = rotation_table([-frames], 1, 1, numerator.shape[-1], numerator.device)
    # every row of the numerator is a sum of keys
    back = back.expand(1, numerator.shape[-2], -1)
    return replace(state, numerator=rotate(numerator[:, :, None], back)[:, :, 0])
