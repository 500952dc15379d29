"""The log has one schema, tells means, and never shows the steps that a resume takes back."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from vivace.training.log import LogLine, RunningMeans, TrainLog, read_log

LINE = LogLine(
    train_step=10,
    loss=0.5,
    parts={"flow": 0.25, "rare": None},
    grad_norm=1.5,
    learning_rate=1e-3,
    elapsed_seconds=12.5,
    samples_per_second=80.0,
    peak_memory_mib=512.0,
    num_skipped=0,
)


def test_a_line_is_json_of_a_fixed_schema(tmp_path: Path) -> None:
    with TrainLog(tmp_path / "log.jsonl", train_step=0, console=Console(file=io.StringIO())) as log:
        log.write(LINE, 0.1)
    (text,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(text) == {
        "train_step": 10,
        "loss": 0.5,
        "parts": {"flow": 0.25, "rare": None},
        "grad_norm": 1.5,
        "learning_rate": 1e-3,
        "elapsed_seconds": 12.5,
        "samples_per_second": 80.0,
        "peak_memory_mib": 512.0,
        "num_skipped": 0,
    }
    assert read_log(tmp_path / "log.jsonl") == [LINE]


def test_opening_drops_lines_after_the_resumed_step_and_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TrainLog(path, train_step=0, console=Console(file=io.StringIO())) as log:
        for train_step in (10, 20, 30):
            log.write(replace(LINE, train_step=train_step), 0.1)
    with path.open("a") as file:
        file.write('{"train_step": 4')
    assert [line.train_step for line in read_log(path)] == [10, 20, 30]
    log = TrainLog(path, train_step=25, console=Console(file=io.StringIO()))
    assert log.last_line == replace(LINE, train_step=20)
    assert [line.train_step for line in read_log(path)] == [10, 20]
    assert path.read_text().endswith("}\n")


def test_without_a_terminal_there_are_plain_lines_only(tmp_path: Path) -> None:
    out = io.StringIO()
    with TrainLog(tmp_path / "log.jsonl", train_step=0, console=Console(file=out, width=40)) as log:
        log.show_progress(0.3)
        log.write(replace(LINE, num_skipped=3), 0.345)
    assert out.getvalue() == (
        "train step 10  loss 0.5  flow 0.25  rare none  grad 1.5  lr 0.001  80 samples/s  "
        "3 skipped  34.5% done\n"
    )


def test_a_terminal_gets_a_bar_with_the_time_left(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with TrainLog(tmp_path / "log.jsonl", train_step=0, console=console) as log:
        log.write(LINE, 0.5)
    assert "training" in out.getvalue()
    assert "50%" in out.getvalue()
    assert "train step 10" in out.getvalue()


def test_means_leave_out_values_that_are_not_finite_and_start_again() -> None:
    means = RunningMeans()
    for value in (1.0, math.nan, 4.0, math.inf):
        means.add("loss", torch.tensor(value, requires_grad=True))
    means.add("rare", torch.tensor(7.0))
    means.add("bad", torch.tensor(math.nan))
    assert means.take() == {"loss": 2.5, "rare": 7.0, "bad": None}
    assert means.take() == {}


def test_means_keep_no_graph() -> None:
    means = RunningMeans()
    weight = torch.ones((), requires_grad=True)
    means.add("loss", weight * 2)
    assert not means._sums["loss"].requires_grad
