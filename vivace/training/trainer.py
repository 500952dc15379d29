"""The training loop: update, log, save, resume; knows no model, no data and no objective."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch
from rich.console import Console
from torch import Tensor, nn

from vivace.core.config import write_config
from vivace.core.errors import ConfigError, VivaceError, WeightsError
from vivace.core.stop_signals import StopSignals
from vivace.models.shards import DEFAULT_SHARD_MIB, StoredDtype, as_dtype
from vivace.parallel.replicas import Replicas
from vivace.training.checkpoint import (
    CONFIG_NAME,
    Checkpoint,
    TrainerState,
    find_latest,
    load_checkpoint,
    remove_half_written,
    require_same_config,
    save_checkpoint,
)
from vivace.training.log import LogLine, RunningMeans, TrainLog
from vivace.training.objective import Objective
from vivace.training.optimizer import SkippingAdamW, WeightAverage, learning_rate_at

MAX_SKIPPED_IN_A_ROW = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """How long, how fast and how safely to train.

    Attributes:
        num_train_steps: Optimiser updates in all; skipped ones count.
        learning_rate: Peak; the warm-up is linear in train steps, then a cosine falls to
            `final_learning_rate_fraction` of the peak.
        weight_decay: For tensors of two or more dimensions only.
        grad_clip_norm: Largest norm of the whole gradient; None for no clipping.
        ema_decay: Of the averaged weights; None to keep no average.
        micro_batches: Objective calls whose gradients are averaged into one train step, in every process.
        autocast: Type of matrix work inside the objective; weights stay fp32.
        save_every: Train steps between checkpoints; None for by time only.
        save_every_minutes: Minutes between checkpoints; None for by train step only.
        budget_minutes: Training time over all resumes after which the run ends. The learning rate then
            follows the larger of the shares of steps and of time, so that the cosine is finished either way.
        shard_mib: Largest file of a checkpoint in MiB.
        first_moment_dtype, second_moment_dtype: Of Adam's moments in checkpoints; with fp32 a resumed run on
            a CPU is bit-identical to an uninterrupted one.
    """

    num_train_steps: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    final_learning_rate_fraction: float = 0.0
    grad_clip_norm: float | None = 1.0
    ema_decay: float | None = None
    micro_batches: int = 1
    autocast: Literal["none", "bf16"] = "none"
    log_every: int = 50
    save_every: int | None = None
    save_every_minutes: float | None = 10.0
    keep_checkpoints: int = 2
    seed: int = 0
    budget_minutes: float | None = None
    shard_mib: float = DEFAULT_SHARD_MIB
    first_moment_dtype: StoredDtype = "fp32"
    second_moment_dtype: StoredDtype = "fp32"

    def __post_init__(self) -> None:
        counts = {
            "num_train_steps": self.num_train_steps,
            "micro_batches": self.micro_batches,
            "log_every": self.log_every,
            "save_every": self.save_every,
            "keep_checkpoints": self.keep_checkpoints,
        }
        amounts = {
            "learning_rate": self.learning_rate,
            "grad_clip_norm": self.grad_clip_norm,
            "save_every_minutes": self.save_every_minutes,
            "budget_minutes": self.budget_minutes,
            "shard_mib": self.shard_mib,
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise ConfigError(f"{name}: got {count}, expected at least 1")
        for name, amount in amounts.items():
            if amount is not None and not amount > 0:
                raise ConfigError(f"{name}: got {amount}, expected more than 0")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay: got {self.ema_decay}, expected a number in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """How a run ended; the final loss and parts are those of the last log line."""

    train_steps: int
    final_loss: float | None
    final_parts: dict[str, float | None]
    minutes: float
    num_skipped: int
    is_finished: bool


class Trainer:
    """Trains `model` in place and leaves log.jsonl, config.json and checkpoints/ in `out`.

    Pass the plain module: compile it with `model.compile()` or inside the objective, so that names stay.
    """

    def __init__(
        self,
        config: TrainerConfig,
        model: nn.Module,
        objective: Objective,
        out: Path,
        run_config: object,
        device: torch.device | str = "cpu",
        *,
        clock: Callable[[], float] = time.monotonic,
        replicas: Replicas | None = None,
    ) -> None:
        """Move the model to `device` and set up the optimiser.

        Args:
            config: How to train.
            model: Its floating trained weights must be fp32.
            objective: The loss.
            out: Folder of this run; `fit` resumes from it.
            run_config: The whole run's settings (a dataclass), written beside every checkpoint.
            device: Where to train.
            clock: Seconds from any start; tests give their own.
            replicas: Processes that train together: N of them with m micro-batches each do what one does with
                N m. Only the first writes; all read its checkpoints.

        Raises:
            ConfigError: If nothing is to be trained, or trained weights are not fp32.
        """
        self.config = config
        self.device = torch.device(device)
        self.model = model.to(self.device)
        self.out = out
        self.train_step = 0
        self._objective = objective
        self._run_config = run_config
        self._clock = clock
        self._replicas = Replicas() if replicas is None else replicas
        self._trained = {name: item for name, item in model.named_parameters() if item.requires_grad}
        if not self._trained:
            raise ConfigError("the model has no weights to train; set requires_grad on some")
        for name, parameter in self._trained.items():
            if parameter.dtype != torch.float32:
                raise ConfigError(
                    f"{name} is {parameter.dtype}, expected torch.float32; use autocast for bf16"
                )
        self._optimizer = SkippingAdamW(
            self._trained, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
        )
        self._average = None if config.ema_decay is None else WeightAverage(self._trained, config.ema_decay)
        self._means = RunningMeans()
        self._elapsed_before = 0.0
        self._started = clock()

    def fit(self, *, allow_changed_config: bool = False) -> TrainResult:
        """Train to the end, from the newest checkpoint in `out` if there is one.

        SIGTERM or SIGINT ends the run after the present train step with a checkpoint (`is_finished` is then
        False); a second one ends it at once. A train step with a loss or gradient that is not finite changes
        nothing but counters.

        Raises:
            ConfigError: If the checkpoint was trained with another run config and that is not allowed.
            WeightsError: If the checkpoint is damaged or does not fit the model.
            VivaceError: If 20 train steps in a row were skipped (noticed at the next log line).
        """
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        resumed_from = self._resume(allow_changed_config)
        self._replicas.share(self.model.state_dict().values())
        self.out.mkdir(parents=True, exist_ok=True)
        is_first = self._replicas.is_first
        if is_first:
            write_config(self._run_config, self.out / CONFIG_NAME)
        self.model.train()
        self._started = self._clock()
        log_path = self.out / ("log.jsonl" if is_first else f"log.{self._replicas.rank}.jsonl")
        console = Console(stderr=True, quiet=not is_first)
        with StopSignals() as stop, TrainLog(log_path, train_step=self.train_step, console=console) as log:
            if resumed_from is not None:
                log.say(f"resuming from {resumed_from}")
            self._run(log, stop)
            last = log.last_line
            if stop.received is not None:
                log.say(f"stopped by {stop.received} at train step {self.train_step}; run it again to resume")
        return TrainResult(
            train_steps=self.train_step,
            final_loss=None if last is None else last.loss,
            final_parts={} if last is None else last.parts,
            minutes=self._elapsed_seconds() / 60,
            num_skipped=int(self._optimizer.num_skipped),
            is_finished=self._progress() >= 1,
        )

    def inference_weights(self) -> dict[str, Tensor]:
        """The model's state dict, with averaged weights where there is an average."""
        averaged = {} if self._average is None else self._average.weights
        return {**self.model.state_dict(), **averaged}

    def _run(self, log: TrainLog, stop: StopSignals) -> None:
        config = self.config
        saved_at = logged_at = self._elapsed_seconds()
        saved_step = self.train_step
        num_samples = 0
        while True:
            progress, is_stopped = self._replicas.agree([self._progress(), float(stop.received is not None)])
            if progress >= 1 or is_stopped:
                break
            rate = learning_rate_at(
                self.train_step,
                progress,
                peak=config.learning_rate,
                warmup_steps=config.warmup_steps,
                final_fraction=config.final_learning_rate_fraction,
            )
            num_samples += self._update(rate)
            self.train_step += 1
            progress = self._progress()
            log.show_progress(min(progress, 1.0))
            is_last = progress >= 1 or stop.received is not None
            if is_last or self.train_step % config.log_every == 0:
                line = self._log_line(rate, num_samples, since=logged_at)
                log.write(line, min(progress, 1.0))
                self._stop_if_diverged()
                logged_at, num_samples = line.elapsed_seconds, 0
            if self._replicas.is_first and self._is_save_due(self._elapsed_seconds() - saved_at):
                self._save()
                saved_at, saved_step = self._elapsed_seconds(), self.train_step
        if self._replicas.is_first and saved_step != self.train_step:
            self._save()

    def _update(self, learning_rate: float) -> int:
        """One train step without waiting for the device; returns the number of samples."""
        config = self.config
        num_samples = 0
        is_good = torch.ones((), dtype=torch.bool, device=self.device)
        first = self._replicas.rank * config.micro_batches
        for micro_batch in range(first, first + config.micro_batches):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=config.autocast == "bf16"):
                loss = self._objective(self.model, self.train_step, micro_batch)
            (loss.total / config.micro_batches).backward()
            is_good = is_good & torch.isfinite(loss.total.detach())
            self._means.add("loss", loss.total)
            for name, value in loss.parts.items():
                self._means.add(f"parts.{name}", value)
            num_samples += loss.num_samples
        parameters = [item for item in self._trained.values() if item.grad is not None]
        gradients = [item.grad for item in parameters if item.grad is not None]
        bad = (~is_good).float()
        self._replicas.average([*gradients, bad])
        is_good = bad == 0
        norm = nn.utils.get_total_norm(gradients)
        if config.grad_clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, config.grad_clip_norm, norm)
        self._means.add("grad_norm", norm)
        self._optimizer.guarded_step(is_good & torch.isfinite(norm), learning_rate)
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(self.train_step + 1)
        return num_samples

    def _elapsed_seconds(self) -> float:
        return self._elapsed_before + self._clock() - self._started

    def _progress(self) -> float:
        share_of_steps = self.train_step / self.config.num_train_steps
        if self.config.budget_minutes is None:
            return share_of_steps
        return max(share_of_steps, self._elapsed_seconds() / (60 * self.config.budget_minutes))

    def _is_save_due(self, seconds_since_save: float) -> bool:
        config = self.config
        if config.save_every is not None and self.train_step % config.save_every == 0:
            return True
        return config.save_every_minutes is not None and seconds_since_save >= 60 * config.save_every_minutes

    def _log_line(self, learning_rate: float, num_samples: int, *, since: float) -> LogLine:
        means = self._means.take()
        elapsed = self._elapsed_seconds()  # after the means, which wait for the device
        return LogLine(
            train_step=self.train_step,
            loss=means["loss"],
            parts={name.removeprefix("parts."): v for name, v in means.items() if name.startswith("parts.")},
            grad_norm=means["grad_norm"],
            learning_rate=learning_rate,
            elapsed_seconds=elapsed,
            samples_per_second=num_samples / max(elapsed - since, 1e-9),
            peak_memory_mib=self._memory_bytes() / 2**20,
            num_skipped=int(self._optimizer.num_skipped),
        )

    def _memory_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return psutil.Process().memory_info().rss

    def _stop_if_diverged(self) -> None:
        if self._optimizer.longest_skip >= MAX_SKIPPED_IN_A_ROW:
            raise VivaceError(
                f"{int(self._optimizer.longest_skip)} train steps in a row up to {self.train_step} had a "
                f"loss or gradient that is not finite, expected fewer than {MAX_SKIPPED_IN_A_ROW}; lower the "
                "learning rate or look at the data"
            )

    def _save(self) -> None:
        optimizer = self._optimizer
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint = Checkpoint(
            state=TrainerState(
                train_step=self.train_step,
                elapsed_seconds=self._elapsed_seconds(),
                num_skipped=int(optimizer.num_skipped),
                num_skipped_in_a_row=int(optimizer.num_skipped_in_a_row),
            ),
            weights=self.model.state_dict(),
            ema={} if self._average is None else self._average.weights,
            adam=optimizer.named_moments(
                as_dtype(self.config.first_moment_dtype), as_dtype(self.config.second_moment_dtype)
            ),
            random=random,
        )
        save_checkpoint(
            self.out / "checkpoints",
            checkpoint,
            self._run_config,
            shard_mib=self.config.shard_mib,
            keep=self.config.keep_checkpoints,
        )

    def _resume(self, allow_changed_config: bool) -> Path | None:
        folder = self.out / "checkpoints"
        remove_half_written(folder)
        path = find_latest(folder)
        if path is None:
            torch.manual_seed(self.config.seed)
            return None
        if not allow_changed_config:
            require_same_config(path, self._run_config)
        self._restore(load_checkpoint(path), path)
        return path

    @torch.no_grad()
    def _restore(self, stored: Checkpoint, path: Path) -> None:
        try:
            self.model.load_state_dict(stored.weights, strict=True)
        except RuntimeError as error:
            raise WeightsError(
                f"{path} does not fit the model ({error}); use another output folder"
            ) from None
        if self._average is not None:
            # A run that asks for an average only now starts it from the stored weights.
            self._average.restore(stored.ema or stored.weights)
        self._optimizer.restore(
            stored.adam,
            num_skipped=stored.state.num_skipped,
            num_skipped_in_a_row=stored.state.num_skipped_in_a_row,
        )
        torch.set_rng_state(stored.random["cpu"])
        if self.device.type == "cuda" and "cuda" in stored.random:
            torch.cuda.set_rng_state(stored.random["cuda"], self.device)
        self.train_step = stored.state.train_step
        self._elapsed_before = stored.state.elapsed_seconds
