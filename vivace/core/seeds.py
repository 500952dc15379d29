"""Seeds that depend on several numbers, so that randomness is a function of place and not of order."""

_MASK = (1 << 64) - 1


def mix_seed(*parts: int) -> int:
    """A 63-bit seed that depends on every part and on their order; neighbours get unrelated numbers.

    Source: the mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), folded over the parts.
    """
    mixed = 0
    for part in parts:
        mixed = ((mixed ^ (part & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return mixed >> 1
