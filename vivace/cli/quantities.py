"""Times, sizes and rates as people type them."""

import re
from fractions import Fraction

from vivace.core.errors import InputError

NUMBER = r"\d+(?:\.\d*)?|\.\d+"


def parse_time(text: str, what: str = "time") -> Fraction:
    """Seconds from `4`, `4s`, `4.5`, `250ms`, `2m`, `1:05.5` or `1:02:03`.

    Raises:
        InputError: If it is negative or of another form.
    """
    plain = text.strip().lower()
    if plain.startswith("-"):
        raise InputError(f"got a {what} of {text}, expected 0 or more")
    if match := re.fullmatch(rf"({NUMBER})\s*(ms|s|m|h)?", plain):
        factor = {"ms": Fraction(1, 1000), "m": Fraction(60), "h": Fraction(3600)}.get(match[2], Fraction(1))
        return Fraction(match[1]) * factor
    if match := re.fullmatch(rf"(?:(\d+):)?(\d+):({NUMBER})", plain):
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + Fraction(match[3])
    raise InputError(f"cannot read the {what} {text!r}; expected a form like 4, 4s, 250ms or 1:05.5")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from `640x360`.

    Raises:
        InputError: If it has another form or a side is 0.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[xX*]\s*(\d+)\s*", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise InputError(f"cannot read the size {text!r}; expected WIDTHxHEIGHT in pixels, like 640x360")
    return int(match[1]), int(match[2])


def parse_rate(text: str) -> Fraction:
    """Frames per second from `24`, `29.97` or `30000/1001`.

    Raises:
        InputError: If it has another form or is not positive.
    """
    match = re.fullmatch(rf"\s*({NUMBER})(?:/(\d+))?\s*", text)
    rate = Fraction(match[1]) / int(match[2] or 1) if match and int(match[2] or 1) else Fraction(0)
    if rate <= 0:
        raise InputError(f"cannot read the frame rate {text!r}; expected a number like 24 or 30000/1001")
    return rate
