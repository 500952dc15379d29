"""The JSON of `vivace edit` has exactly these keys and types; figures are computed as documented."""

import json

import pytest

from vivace.cli.edit_report import CropReport, EditReport, PromptReport, chunk_percentiles, to_json_line

NUMBER = (int, float)
TEXT_OR_NULL = (str, type(None))

SCHEMA = {
    "model": str,
    "device": str,
    "precision": str,
    "input": str,
    "output": str,
    "compare": TEXT_OR_NULL,
    "contact_sheet": TEXT_OR_NULL,
    "source_width": int,
    "source_height": int,
    "width": int,
    "height": int,
    "cropped": {"left_px": int, "top_px": int, "right_px": int, "bottom_px": int},
    "steps": int,
    "commit": str,
    "seed": int,
    "frames_in": int,
    "frames_out": int,
    "load_s": NUMBER,
    "ttff_s": NUMBER,
    "fps_end_to_end": NUMBER,
    "chunk_ms_p50": NUMBER,
    "chunk_ms_p99": NUMBER,
    "peak_rss_mib": NUMBER,
    "was_truncated": bool,
    "truncation_reason": TEXT_OR_NULL,
    "was_interrupted": bool,
    "audio": [str],
    "prompts": [{"at_s": NUMBER, "words": str, "from_frame": int}],
}


def assert_fits(value, schema, where: str = "report") -> None:
    if isinstance(schema, dict):
        assert value.keys() == schema.keys(), where
        for key, inner in schema.items():
            assert_fits(value[key], inner, f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for item in value:
            assert_fits(item, schema[0], f"{where}[]")
    else:
        assert isinstance(value, schema), where
        assert isinstance(value, bool) == (schema is bool), where


def test_a_real_report_fits_the_schema_and_is_plausible(edit, clip, tmp_path):
    words = ("--at", "0.2", "a sketch", "--contact-sheet", tmp_path / "a.png", "--seed", 3)
    report = edit(clip, tmp_path / "out.mp4", *words).report
    assert_fits(report, SCHEMA)
    assert report["seed"] == 3
    assert report["precision"] == "fp32"
    assert report["device"] == "cpu"
    assert 0 < report["chunk_ms_p50"] <= report["chunk_ms_p99"]
    assert 0 < report["ttff_s"] < 30
    assert 50 < report["peak_rss_mib"] < 20_000
    assert len(report["prompts"]) == 2


def test_the_schema_is_strict():
    with pytest.raises(AssertionError, match=r"report\.prompts\[\]\.words"):
        assert_fits({"prompts": [{"words": 1}]}, {"prompts": [{"words": str}]})
    with pytest.raises(AssertionError):
        assert_fits({"n": True}, {"n": int})
    with pytest.raises(AssertionError):
        assert_fits({"n": 1, "m": 1}, {"n": int})


def test_a_line_of_json_is_one_line_whatever_the_words():
    report = EditReport(
        model="m",
        device="cpu",
        precision="fp32",
        input="in\nput",
        output="out",
        compare=None,
        contact_sheet=None,
        source_width=1,
        source_height=1,
        width=16,
        height=16,
        cropped=CropReport(left_px=0, top_px=0, right_px=0, bottom_px=0),
        steps=4,
        commit="clean_pass",
        seed=0,
        frames_in=1,
        frames_out=1,
        load_s=0.1,
        ttff_s=0.1,
        fps_end_to_end=1.0,
        chunk_ms_p50=1.0,
        chunk_ms_p99=1.0,
        peak_rss_mib=1.0,
        was_truncated=True,
        truncation_reason='a "quoted" reason',
        was_interrupted=False,
        audio=(),
        prompts=(PromptReport(at_s=0.0, words="snow\n", from_frame=0),),
    )
    line = to_json_line(report)
    assert "\n" not in line
    assert_fits(json.loads(line), SCHEMA)


def test_the_first_chunk_counts_only_when_it_is_alone():
    assert chunk_percentiles([]) == (0.0, 0.0)
    assert chunk_percentiles([9.0]) == (9.0, 9.0)
    assert chunk_percentiles([900.0, 10.0, 10.0, 20.0])[0] == 10.0
    assert chunk_percentiles([900.0, 10.0, 20.0]) == (15.0, pytest.approx(19.9))
