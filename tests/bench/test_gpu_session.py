"""The session of a GPU: its parts exist, and its table is read from reports as the benchmarks write them."""

import dataclasses
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vivace.bench.edit_speed import SpeedReport, SpeedSettings, StageSpeed
from vivace.bench.end_to_end import EndToEndSettings, EndToEndSpeed
from vivace.bench.full_speed import DistanceFigure, FullSpeedReport, FullSpeedSettings, TimeFigure
from vivace.bench.ltx2_speed import Ltx2Speed, Ltx2SpeedReport, Ltx2SpeedSettings
from vivace.bench.memory_parts import MemoryReport, WorkMemory
from vivace.core.config import to_json

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_session.py"


@pytest.fixture(scope="module")
def session() -> SimpleNamespace:
    if not SCRIPT.is_file():
        pytest.skip("needs a checkout")
    return SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="gpu_session"))


def log_of(**report: object) -> str:
    return f"some words\n{json.dumps(report)}\n"


def test_the_tables_are_read_from_reports_as_they_are_written(session):
    stages = (StageSpeed(name="encode", median_ms=1.25, p99_ms=2.0, num_runs=4),)
    at = SpeedSettings(
        width_px=32,
        height_px=32,
        num_denoising_steps=4,
        commit="clean_pass",
        num_chunks=4,
        num_warmup_chunks=1,
    )
    speed = SpeedReport(
        settings=at, precision="fp8", raw_frames_per_chunk=4, stages=stages, frames_per_second=200.0
    )
    assert list(session.stages_summary(log_of(runs=[dataclasses.asdict(speed)]))) == [
        "fp8: 200.0 FPS; ms: encode 1.25"
    ]
    full = FullSpeedReport(
        settings=FullSpeedSettings(),
        times=(TimeFigure(name="one", variant="graph", median_ms=24.5, p99_ms=25.0, num_runs=3),),
        distances=(DistanceFigure(name="far", relative=0.01),),
        peak_gib={"graph": 6.96},
    )
    lines = list(session.transformer_summary(log_of(runs=[dataclasses.asdict(full)])))
    assert "24.500 /    25.000 ms" in lines[0]
    assert lines[1:] == ["distances: far 1.0e-02", "GiB: graph 6.96"]
    whole = EndToEndSpeed(
        settings=EndToEndSettings(loop="overlapped", num_streams=4),
        precision="bf16",
        frames_per_second=80.0,
        chunk_median_ms=300.0,
        chunk_p99_ms=310.0,
        latency_median_ms=320.0,
        latency_p99_ms=330.0,
        first_frame_ms=240.0,
        steady_delay_s=None,
        peak_gib=11.5,
        reserved_gib=13.5,
    )
    held = MemoryReport(
        settings=EndToEndSettings(vae_frames=1),
        precision="fp8",
        held={"vae": 2.28},
        unnamed=((0.05, 2),),
        works=(WorkMemory(work="Encode", before=5.0, peak=6.5, reserved=7.0),),
        first_chunk=(),
    )
    assert list(session.memory_summary(log_of(memory=[dataclasses.asdict(held)]))) == [
        "fp8, VAE calls of 1: vae 2.28",
        "  Encode 6.50 / 7.00",
        "  first chunk: ",
    ]
    (line,) = session.end_to_end_summary(log_of(end_to_end=[dataclasses.asdict(whole)]))
    for part in (
        "1280x704 x4",
        "bf16 4 clean_pass overlapped",
        "80.0 FPS",
        "300.0 / 310.0",
        "behind",
        "11.50",
    ):
        assert part in line
    row = Ltx2Speed(
        direction="decode",
        form="fused",
        frames_per_call=3,
        median_ms=56.6,
        p99_ms=57.0,
        raw_frames_per_second=424.0,
        peak_gib=5.0,
        state_gib=1.0,
        tflop_per_s=480.0,
    )
    report = Ltx2SpeedReport(
        settings=Ltx2SpeedSettings(), device="a", torch="b", python="c", rows=(row,), floors={}
    )
    (line,) = session.ltx2_summary("words\n\n" + json.dumps(to_json(report)) + "\n")
    assert line == "decode x3 fused           56.60 /    57.00 ms     424 FPS"
    log = "FAILED tests/a.py::b - no\n1 failed, 3 passed in 2.00s\n"
    assert list(session.tests_summary(log)) == log.splitlines()


def test_every_command_is_one_that_can_be_read(session, tmp_path):
    parts = session.parts_of(tmp_path, 20)
    names = [part.name.split()[0] for part in parts]
    assert names == ["tests", "end_to_end", "dit", "memory", "kernels", "ltx2", "rows", *["tiny"] * 3]
    from vivace.cli.main import COMMANDS

    benches = [part.command for part in parts if "vivace" in part.command]
    assert len(benches) == 7
    import tyro

    for command in benches:
        read = tyro.cli(COMMANDS["bench"].arguments, args=command[4:])
        assert read.model in ("tiny-edit", "sana-streaming")


def test_the_files_that_need_a_gpu_are_found_and_their_logs_counted():
    path = SCRIPT.with_name("gpu_tests.py")
    if not path.is_file():
        pytest.skip("needs a checkout")
    tests = SimpleNamespace(**runpy.run_path(str(path), run_name="gpu_tests"))
    names = [file.name for file in tests.test_files()]
    assert "test_overlap.py" in names
    assert "test_graph_pool.py" not in names
    log = "tests/a.py::b PASSED\n==== 2 failed, 3 passed, 1 deselected, 1 error in 2.00s ====\n"
    assert tests.counts_of(log) == {"failed": 2, "passed": 3, "error": 1}
    assert tests.counts_of("Timeout") == {}


def test_a_part_that_fails_or_takes_too_long_is_a_row_with_its_last_words(session, tmp_path):
    part = session.Part(
        "one two", [sys.executable, "-c", "print('oh no'); exit(3)"], 9, session.stages_summary
    )
    outcome = session.run_part(part, tmp_path, 30)
    assert (outcome.state, outcome.lines) == ("failed (3)", ["oh no"])
    assert (tmp_path / "one_two.log").read_text() == "oh no\n"
    slow = session.Part(
        "slow", [sys.executable, "-c", "import time; time.sleep(60)"], 9, session.tests_summary
    )
    assert session.run_part(slow, tmp_path, 0.5).state.startswith("stopped after")


def test_without_a_gpu_it_is_one_sentence(session, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert session.main([str(tmp_path / "out")]) == 2
    assert "need a GPU" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
