"""Processes that train together do what one with as many micro-batches does, and only the first writes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from vivace.models.shards import load_sharded
from vivace.parallel.replicas import Replicas
from vivace.training.log import read_log
from vivace.training.objective import Loss, step_seed
from vivace.training.trainer import Trainer, TrainerConfig

CONFIG = TrainerConfig(
    num_train_steps=6, learning_rate=1e-2, ema_decay=0.9, micro_batches=1, log_every=2, save_every=3
)
TOGETHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_replicas as t
from vivace.parallel.replicas import Replicas

replicas = Replicas.join("cpu")
t.train(Path(sys.argv[2]), t.CONFIG, replicas, weights_seed=replicas.rank)
replicas.leave()
"""


def regression(model: nn.Module, train_step: int, micro_batch: int) -> Loss:
    generator = torch.Generator().manual_seed(step_seed(3, train_step, micro_batch))
    x = torch.randn(16, 4, generator=generator)
    scale = torch.nan if train_step == 2 and micro_batch == 1 else 1.0
    return Loss(total=(model(x) - x[:, :2]).square().mean() * scale, num_samples=16)


def train(out: Path, config: TrainerConfig, replicas: Replicas | None = None, weights_seed: int = 0) -> None:
    torch.manual_seed(weights_seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    Trainer(config, model, regression, out, config, replicas=replicas).fit()


def test_two_processes_train_what_one_with_two_micro_batches_trains(tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    here = str(Path(__file__).parent)
    command = [*(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")]
    child = subprocess.run(
        [*command, str(script), here, str(tmp_path / "two")], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    train(tmp_path / "one", replace(CONFIG, micro_batches=2))
    names = "checkpoints/train-step-00000006"
    for group in ("weights", "ema", "adam"):
        two, one = (load_sharded(tmp_path / run / names, group) for run in ("two", "one"))
        assert two.keys() == one.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], msg=f"{group} {name}")
    # the bad micro-batch of the second process left out the train step of both
    assert [line.num_skipped for line in read_log(tmp_path / "two/log.jsonl")] == [0, 1, 1]
    assert {path.name for path in (tmp_path / "two/checkpoints").iterdir()} >= {
        "train-step-00000003",
        "train-step-00000006",
    }
    assert not read_log(tmp_path / "one/log.1.jsonl")


def test_a_process_alone_agrees_with_itself_and_sends_nothing() -> None:
    alone = Replicas.join("cpu")
    assert (alone.rank, alone.count, alone.is_first) == (0, 1, True)
    assert alone.agree([0.25, 1.0]) == [0.25, 1.0]
    tensor = torch.ones(3)
    alone.average([tensor])
    alone.share([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert alone.device("cpu") == torch.device("cpu")
    alone.leave()
