"""The loop trains, resumes to the bit after a kill, skips bad steps and ends with a finished schedule."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vivace.core.errors import ConfigError, VivaceError, WeightsError
from vivace.models.shards import load_sharded
from vivace.training.checkpoint import find_latest
from vivace.training.log import read_log
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig

CONFIG = TrainerConfig(
    num_train_steps=12,
    learning_rate=1e-2,
    weight_decay=0.1,
    warmup_steps=3,
    ema_decay=0.99,
    micro_batches=2,
    log_every=4,
    save_every=4,
    seed=3,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Stands for a recipe's settings."""

    trainer: TrainerConfig
    width: int = 8


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 2))


def regression(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
    generator = torch.Generator().manual_seed(step_seed(3, train_step, micro_batch))
    x = torch.randn(16, 4, generator=generator)
    error = (model(x) - x[:, :2]).square().mean()
    return Loss(total=error, parts={"mse": error}, num_samples=16)


def make_trainer(
    out: Path,
    config: TrainerConfig = CONFIG,
    objective: Callable[[nn.Module, int, int], Loss] = regression,
    **options: Callable[[], float],
) -> Trainer:
    return Trainer(config, tiny_model(), objective, out, RunConfig(trainer=config), **options)


def assert_equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_trainer as t

def objective(model, train_step, micro_batch):
    if (train_step, micro_batch) == (7, 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return t.regression(model, train_step, micro_batch)

t.make_trainer(Path(sys.argv[2]), objective=objective).fit()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_run_killed_in_the_middle_resumes_to_the_same_bits(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    child = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, here, str(tmp_path / "cut")], capture_output=True
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    resumed = make_trainer(tmp_path / "cut")
    assert resumed.fit().is_finished

    whole = make_trainer(tmp_path / "whole")
    whole.fit()
    assert_equal(resumed.model.state_dict(), whole.model.state_dict())
    assert_equal(resumed.inference_weights(), whole.inference_weights())
    for group in ("weights", "ema", "adam", "random"):
        assert_equal(
            load_sharded(tmp_path / "cut/checkpoints/train-step-00000012", group),
            load_sharded(tmp_path / "whole/checkpoints/train-step-00000012", group),
        )
    assert [line.train_step for line in read_log(tmp_path / "cut/log.jsonl")] == [4, 8, 12]


def test_training_lowers_the_loss_and_the_log_tells_it(tmp_path: Path) -> None:
    config = replace(CONFIG, num_train_steps=60, log_every=20, save_every=None)
    result = make_trainer(tmp_path, config).fit()
    lines = read_log(tmp_path / "log.jsonl")
    assert [line.train_step for line in lines] == [20, 40, 60]
    assert result.final_loss == lines[-1].loss == lines[-1].parts["mse"]
    assert result.final_loss is not None
    assert lines[0].loss is not None
    assert result.final_loss < 0.5 * lines[0].loss
    assert result.train_steps == 60
    assert result.is_finished
    assert all(line.grad_norm and line.samples_per_second > 0 and line.peak_memory_mib > 0 for line in lines)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = make_trainer(tmp_path)
    result = first.fit()
    again = make_trainer(tmp_path)
    assert again.fit().final_loss == result.final_loss
    assert_equal(first.model.state_dict(), again.model.state_dict())


@pytest.mark.parametrize(
    ("scale", "offset"), [(math.nan, 0.0), (1.0, math.inf)], ids=["gradient", "loss only"]
)
def test_a_loss_that_is_not_finite_changes_no_weight_and_is_counted(
    tmp_path: Path, scale: float, offset: float
) -> None:
    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        loss = regression(model, train_step, micro_batch)
        is_bad = train_step == 1 and micro_batch == 1
        return Loss(total=loss.total * scale + offset if is_bad else loss.total, parts=loss.parts)

    one = replace(CONFIG, num_train_steps=1, ema_decay=None, save_every=None)
    after_one = make_trainer(tmp_path / "one", one, objective)
    after_one.fit()
    after_two = make_trainer(tmp_path / "two", replace(one, num_train_steps=2), objective)
    # The same first step: the schedule of two steps starts at the same rate.
    result = after_two.fit()
    assert result.num_skipped == 1
    assert_equal(after_one.model.state_dict(), after_two.model.state_dict())
    adam = load_sharded(tmp_path / "two/checkpoints/train-step-00000002", "adam")
    assert adam["step/0.weight"].item() == 1
    assert all(torch.isfinite(item).all() for item in adam.values())
    assert result.final_loss is not None
    assert math.isfinite(result.final_loss)


def test_twenty_bad_steps_in_a_row_end_the_run_with_a_sentence(tmp_path: Path) -> None:
    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        scale = math.inf if train_step >= 5 else 1.0
        return Loss(total=regression(model, train_step, micro_batch).total * scale)

    config = replace(CONFIG, num_train_steps=100, log_every=1, micro_batches=1)
    with pytest.raises(VivaceError, match="20 train steps in a row up to 25 had a loss or gradient"):
        make_trainer(tmp_path, config, objective).fit()


def test_a_count_of_bad_steps_survives_a_resume(tmp_path: Path) -> None:
    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        return Loss(total=regression(model, train_step, micro_batch).total * math.nan)

    config = replace(CONFIG, num_train_steps=12, log_every=100)
    make_trainer(tmp_path, config, objective).fit()
    longer = make_trainer(tmp_path, replace(config, num_train_steps=24), objective)
    with pytest.raises(VivaceError, match="24 train steps in a row"):
        longer.fit(allow_changed_config=True)


def test_a_resume_with_another_config_is_refused_and_names_the_key(tmp_path: Path) -> None:
    make_trainer(tmp_path).fit()
    other = replace(CONFIG, num_train_steps=16, learning_rate=2e-2)
    with pytest.raises(ConfigError, match=r"trainer\.num_train_steps is stored as 12, got 16"):
        make_trainer(tmp_path, other).fit()
    assert make_trainer(tmp_path, other).fit(allow_changed_config=True).train_steps == 16


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path).fit()
    other = Trainer(CONFIG, nn.Linear(4, 2), regression, tmp_path, RunConfig(trainer=CONFIG))
    with pytest.raises(WeightsError, match="does not fit the model"):
        other.fit()


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_run_cut_by_time_ends_with_a_finished_schedule_also_over_a_resume(tmp_path: Path) -> None:
    clock = FakeClock()
    is_stopped_early = True

    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        clock.now += 3.0
        if is_stopped_early and train_step == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return regression(model, train_step, micro_batch)

    config = replace(CONFIG, num_train_steps=10_000, micro_batches=1, budget_minutes=5.0, log_every=1)
    first = make_trainer(tmp_path, config, objective, clock=clock).fit()
    assert (first.train_steps, first.minutes, first.is_finished) == (21, 63 / 60, False)
    is_stopped_early = False
    clock.now += 5000.0  # time between runs is no training time
    second = make_trainer(tmp_path, config, objective, clock=clock).fit()
    assert (second.train_steps, second.minutes, second.is_finished) == (100, 5.0, True)
    rates = [line.learning_rate for line in read_log(tmp_path / "log.jsonl")]
    assert len(rates) == 100
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[50] == pytest.approx(0.5 * config.learning_rate)
    assert rates[-1] < 1e-3 * config.learning_rate


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_restores_the_handlers(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        if (train_step, micro_batch) == (5, 0):
            os.kill(os.getpid(), number)
        return regression(model, train_step, micro_batch)

    before = signal.getsignal(number)
    result = make_trainer(tmp_path, objective=objective).fit()
    assert signal.getsignal(number) is before
    assert (result.train_steps, result.is_finished) == (6, False)
    latest = find_latest(tmp_path / "checkpoints")
    assert latest is not None
    assert latest.name == "train-step-00000006"
    assert f"stopped by {number.name} at train step 6; run it again to resume" in capfd.readouterr().err


def test_a_second_signal_quits_at_once(tmp_path: Path) -> None:
    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        if train_step == 5:
            os.kill(os.getpid(), signal.SIGINT)  # two micro-batches, two signals
        return regression(model, train_step, micro_batch)

    trainer = make_trainer(tmp_path, objective=objective)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.train_step == 5


def test_checkpoints_come_by_train_steps_or_minutes_and_old_ones_go(tmp_path: Path) -> None:
    clock = FakeClock()

    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        clock.now += 30.0
        return regression(model, train_step, micro_batch)

    config = replace(CONFIG, micro_batches=1, save_every=None, save_every_minutes=2.5, keep_checkpoints=2)
    make_trainer(tmp_path, config, objective, clock=clock).fit()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["latest", "train-step-00000010", "train-step-00000012"]


def test_micro_batches_give_the_gradient_of_the_mean(tmp_path: Path) -> None:
    def both(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        total = (regression(model, train_step, 0).total + regression(model, train_step, 1).total) / 2
        return Loss(total=total)

    split = make_trainer(tmp_path / "split")
    joined = make_trainer(tmp_path / "joined", replace(CONFIG, micro_batches=1), both)
    for trainer in (split, joined):
        trainer.model[1].p = 0.0  # type: ignore[union-attr]
        trainer.fit()
    for name, weight in split.model.state_dict().items():
        torch.testing.assert_close(weight, joined.model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_autocast_runs_the_objective_in_bf16_and_keeps_fp32_weights(tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()

    def objective(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
        output = model(torch.ones(2, 4))
        seen.add(output.dtype)
        return Loss(total=output.square().mean())

    trainer = make_trainer(tmp_path, replace(CONFIG, autocast="bf16"), objective)
    trainer.fit()
    assert seen == {torch.bfloat16}
    assert {item.dtype for item in trainer.model.parameters()} == {torch.float32}


def test_step_seeds_are_distinct_and_fill_their_bits() -> None:
    seeds = {step_seed(seed, step, micro) for seed in range(8) for step in range(200) for micro in range(4)}
    assert len(seeds) == 8 * 200 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = [sum((seed >> bit) & 1 for seed in seeds) / len(seeds) for bit in range(63)]
    assert all(0.45 < share < 0.55 for share in bits)
    assert step_seed(0, 1, 0) != step_seed(1, 0, 0) != step_seed(0, 0, 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_train_steps": 0}, "num_train_steps: got 0, expected at least 1"),
        ({"learning_rate": -1.0}, "learning_rate: got -1.0, expected more than 0"),
        ({"ema_decay": 1.0}, r"ema_decay: got 1.0, expected a number in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        replace(CONFIG, **change)


def test_weights_that_are_not_fp32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weight is torch.bfloat16, expected torch.float32"):
        Trainer(CONFIG, nn.Linear(4, 2).bfloat16(), regression, tmp_path, RunConfig(trainer=CONFIG))


def on_device(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
    generator = torch.Generator("cuda").manual_seed(step_seed(3, train_step, micro_batch))
    x = torch.randn(16, 4, generator=generator, device="cuda")
    error = (model(x) - x[:, :2]).float().square().mean()
    return Loss(total=error, parts={"mse": error}, num_samples=16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_train_step_on_a_gpu_never_waits_for_it_and_a_run_resumes(tmp_path: Path) -> None:
    # here, as another test imports this file without its neighbours
    from gpu_checks import waiting_is_an_error

    config = replace(CONFIG, autocast="bf16", num_train_steps=40)
    run_config = RunConfig(trainer=config)
    trainer = Trainer(config, tiny_model(), on_device, tmp_path, run_config, "cuda")
    trainer._update(1e-3)  # allocates
    with waiting_is_an_error():
        trainer._update(1e-3)
    result = Trainer(config, tiny_model(), on_device, tmp_path, run_config, "cuda").fit()
    lines = read_log(tmp_path / "log.jsonl")
    assert result.is_finished
    assert lines[0].loss is not None
    assert lines[-1].loss is not None
    assert lines[-1].loss < lines[0].loss
    longer = replace(config, num_train_steps=44)
    resumed = Trainer(longer, tiny_model(), on_device, tmp_path, RunConfig(trainer=longer), "cuda")
    assert resumed.fit(allow_changed_config=True).train_steps == 44
