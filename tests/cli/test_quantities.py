"""Times, sizes and rates as people type them."""

from fractions import Fraction

import pytest

from vivace.cli.quantities import parse_rate, parse_size, parse_time
from vivace.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4", 4),
        ("4s", 4),
        ("4.5", Fraction(9, 2)),
        (".5 s", Fraction(1, 2)),
        ("250ms", Fraction(1, 4)),
        ("2m", 120),
        ("1h", 3600),
        ("1:05.5", Fraction(131, 2)),
        ("01:02:03", 3723),
        (" 0 ", 0),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_times_are_exact_seconds(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "4x", "1:2:3:4", "1.2.3", "nan", "inf", "1e3", "4 5"])
def test_what_is_no_time_is_refused_with_examples(text):
    with pytest.raises(InputError, match=r"cannot read the start .*1:05\.5"):
        parse_time(text, "start")


@pytest.mark.parametrize("text", ["-1", "-1:00", "-250ms"])
def test_a_negative_time_is_called_negative(text):
    with pytest.raises(InputError, match="expected 0 or more"):
        parse_time(text)


def test_a_size_is_width_by_height():
    assert parse_size("640x360") == parse_size(" 640 X 360 ") == (640, 360)
    for text in ("640", "640x", "0x360", "640x360x3", "-640x360", "6.4x3"):
        with pytest.raises(InputError, match="640x360"):
            parse_size(text)


def test_a_rate_is_a_number_or_a_fraction():
    assert parse_rate("24") == 24
    assert parse_rate("29.97") == Fraction(2997, 100)
    assert parse_rate("30000/1001") == Fraction(30000, 1001)
    for text in ("0", "-24", "24/0", "fast", "0/5", ""):
        with pytest.raises(InputError, match="cannot read the frame rate"):
            parse_rate(text)
