import json
from math import prod

import pytest
import torch

from tiny_ltx2 import SPEC
from vivace.bench.ltx2_floor import Convolution, measure_floor, record_convolutions
from vivace.bench.ltx2_speed import Ltx2SpeedSettings, main, measure_ltx2_speed
from vivace.catalog.ltx2_vae import ltx2_vae_spec
from vivace.core.config import to_json
from vivace.core.errors import InputError


def test_operations_and_bytes_of_a_convolution_follow_from_its_shapes():
    convolution = Convolution((1, 8, 5, 10, 12), (16, 8, 3, 3, 3), border=0)
    assert convolution.output_size == (1, 16, 3, 8, 10)
    assert convolution.flops == 2 * 27 * 8 * 16 * 3 * 8 * 10
    assert convolution.num_bytes == 2 * (8 * 5 * 10 * 12 + 16 * 8 * 27 + 16 * 3 * 8 * 10)
    assert Convolution((1, 8, 5, 8, 10), (16, 8, 3, 3, 3), border=1).output_size == (1, 16, 3, 8, 10)


@pytest.mark.parametrize(("decodes", "tflop"), [(True, 9.02), (False, 21.0)])
def test_the_released_vae_costs_what_its_shapes_say(decodes, tflop):
    seen = record_convolutions(ltx2_vae_spec(), 1280, 704, 1, decodes=decodes)
    floor = measure_floor(seen, None)
    assert floor.tflop == pytest.approx(tflop, abs=0.02)
    assert floor.convolutions_ms is None
    parameters = sum(prod(conv.weight_size) * count for conv, count in seen.items())
    assert parameters == pytest.approx(0.528e9 if decodes else 0.694e9, rel=0.001)
    three = measure_floor(record_convolutions(ltx2_vae_spec(), 1280, 704, 3, decodes=decodes), None)
    assert three.tflop == pytest.approx(3 * floor.tflop)
    assert three.gigabytes < 3 * floor.gigabytes


def test_a_report_has_a_row_for_every_direction_and_call_and_survives_json():
    settings = Ltx2SpeedSettings(
        width_px=64, height_px=64, latent_frames=2, forms=("plain",), frames_per_call=(1, 2)
    )
    said: list[str] = []
    report = measure_ltx2_speed(SPEC, settings, torch.device("cpu"), said.append)
    assert [(row.direction, row.frames_per_call) for row in report.rows] == [
        ("encode", 1),
        ("encode", 2),
        ("decode", 1),
        ("decode", 2),
    ]
    assert all(0 < row.median_ms <= row.p99_ms for row in report.rows)
    assert all(row.raw_frames_per_second > 0 and row.state_gib > 0 for row in report.rows)
    assert len(said) == 8
    assert set(json.loads(json.dumps(to_json(report)))["floors"]) == set(report.floors)


def test_what_needs_a_gpu_is_refused_without_one(tmp_path, capsys, monkeypatch):
    with pytest.raises(InputError, match="need a CUDA device"):
        measure_ltx2_speed(SPEC, Ltx2SpeedSettings(), torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--json", str(tmp_path / "out.json")]) == 2
    assert "finds none" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        Ltx2SpeedSettings(latent_frames=0)
