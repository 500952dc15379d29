"""A command line becomes a checked job."""

from fractions import Fraction

import pytest

from vivace.cli.arguments import EditArguments
from vivace.cli.edit_job import EditJob, TimedPrompt, compare_name
from vivace.core.errors import InputError


def test_prompts_are_in_the_order_of_their_times():
    later = (("4s", "a sketch"), ("250ms", "fog"))
    job = EditJob.parse(EditArguments(input="in.mp4", prompt="snow", output="out.mp4", at=later))
    assert job.prompts == (
        TimedPrompt.at_start("snow"),
        TimedPrompt(at_s=Fraction(1, 4), words="fog"),
        TimedPrompt(at_s=Fraction(4), words="a sketch"),
    )
    assert job.compare is None
    assert job.size is None
    assert job.duration_s is None


def test_quantities_are_read():
    words = EditArguments(
        input="in.mp4",
        prompt="snow",
        output="out.mp4",
        size="640x360",
        fps="12.5",
        start="1:00",
        duration="500ms",
        compare=True,
    )
    job = EditJob.parse(words)
    assert (job.size, job.fps, job.start_s, job.duration_s) == ((640, 360), 12.5, 60, 0.5)
    assert job.compare == "out_compare.mp4"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out.mp4", "out_compare.mp4"),
        ("a.b/out.v2.mkv", "a.b/out.v2_compare.mkv"),
        ("frames/", "frames_compare/"),
        ("a/frame_%05d.png", "a/frame_compare_%05d.png"),
    ],
)
def test_the_comparison_lies_beside_the_result(output, expected):
    assert compare_name(output) == expected


def test_a_comparison_needs_a_file():
    with pytest.raises(InputError, match="rtmp://"):
        compare_name("rtmp://somewhere/live")
