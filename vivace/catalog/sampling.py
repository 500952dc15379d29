"""Which noise levels an editor uses for a number of denoising steps."""

from vivace.core.errors import InputError
from vivace.diffusion.sampler import SANA_STREAMING_2_STEPS, SANA_STREAMING_4_STEPS, shifted_sigmas

MAX_DENOISING_STEPS = 8
# The shift of the official sampler, which its lists for 2 and 4 steps come from.
SHIFT = 8.0
# The numbers of steps that the official sampler lists noise levels for.
LISTED_STEPS = (len(SANA_STREAMING_4_STEPS), len(SANA_STREAMING_2_STEPS))


def editing_sigmas(num_denoising_steps: int) -> tuple[float, ...]:
    """Noise levels of a chunk's denoising steps, falling from 1.

    Raises:
        InputError: If the number is not from 1 to 8.

    Source: the official SANA-Streaming lists for 2 and 4 steps; evenly spaced levels with shift 8 otherwise.
    """
    if not 1 <= num_denoising_steps <= MAX_DENOISING_STEPS:
        raise InputError(f"got {num_denoising_steps} denoising steps, expected 1 to {MAX_DENOISING_STEPS}")
    if num_denoising_steps == len(SANA_STREAMING_2_STEPS):
        return SANA_STREAMING_2_STEPS
    if num_denoising_steps == len(SANA_STREAMING_4_STEPS):
        return SANA_STREAMING_4_STEPS
    return shifted_sigmas(num_denoising_steps, SHIFT)


def fewer_steps(wanted: int, least: int) -> tuple[int, ...]:
    """Numbers of steps to choose from where `wanted` take too long: falling, `wanted` first, `least` last.

    Between them are only those that editors are trained for: 4 and 2. It is `wanted` alone where `least` is
    not less.
    """
    between = (number for number in LISTED_STEPS if least < number < wanted)
    return (wanted, *between, least) if least < wanted else (wanted,)
